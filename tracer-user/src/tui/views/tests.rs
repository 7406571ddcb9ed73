//! Screens of several sizes, as text.

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::tui::model::process::Column;
use crate::tui::model::{Action, Key, Model, made};

fn model() -> Model {
    let unread = made::unread();
    let mut model = Model::default();
    model.update(made::now(), made::looks(), unread.clone());
    let later = made::now() + std::time::Duration::from_secs(1);
    let mut looks = made::looks();
    looks[0].stats.allocated.bytes += 5 << 20;
    model.update(later, looks, unread);
    model
}

fn screen(model: &mut Model, width: u16, height: u16, color: bool) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(model, Theme { color }, frame.area(), frame.buffer_mut())).unwrap();
    let buffer = terminal.backend().buffer();
    let rows = (0..height).map(|y| {
        let row: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
        row.trim_end().to_owned() + "\n"
    });
    rows.collect()
}

fn all(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

fn press(model: &mut Model, key: Key) {
    assert_eq!(model.key(key), Action::None);
}

#[test]
fn the_list_at_three_sizes() {
    let text = screen(&mut model(), 80, 24, false);
    all(
        &text,
        &[
            "heaptap top  3 Go processes, 1 unreadable",
            "HEAP▼",
            "ALLOC/S",
            "GORO",
            "RSS",
            "P99",
            "orders·sho",
            "12.0M",
            "5.0M",
            "off",
            "go1.16 is too old",
            "q quit",
            "? help",
            "/ filter",
        ],
    );
    let text = screen(&mut model(), 40, 10, false);
    all(&text, &["PID", "NAME", "HEAP▼", "ALLOC/S", "orders", "12.0M", "5.0M", "q quit"]);
    let text = screen(&mut model(), 200, 60, false);
    all(
        &text,
        &[
            "LIMIT",
            "GOAL",
            "CONTAINER",
            "shop-orders-1",
            "prod/web-pod-x1",
            "cron.service",
            "18.0M",
            "10%cg",
            "█ live ▒ since GC ┃ goal",
            "4000",
            "1.2",
            "90µs",
        ],
    );
}

#[test]
fn colour_adds_nothing_that_is_not_said() {
    for (width, height) in [(80, 24), (40, 10), (200, 60)] {
        let plain = screen(&mut model(), width, height, false);
        assert_eq!(plain, screen(&mut model(), width, height, true));
    }
}

#[test]
fn any_size_is_drawn() {
    for width in (1..30).chain([65535 / 64]) {
        for height in 1..12 {
            let mut model = model();
            screen(&mut model, width, height, true);
            model.key(Key::Char('?'));
            screen(&mut model, width, height, true);
            model.key(Key::Esc);
            model.key(Key::Char('/'));
            screen(&mut model, width, height, true);
        }
    }
    screen(&mut Model::default(), 80, 24, true);
}

#[test]
fn typing_filters_at_once_and_escape_takes_it_back() {
    let mut model = model();
    "/web".chars().for_each(|c| press(&mut model, Key::Char(c)));
    let text = screen(&mut model, 80, 24, false);
    all(&text, &["filter web (1 shown)", "/web_"]);
    assert!(!text.contains("orders"), "{text}");
    "x".chars().for_each(|c| press(&mut model, Key::Char(c)));
    all(&screen(&mut model, 80, 24, false), &["nothing matches \"webx\"; esc shows all"]);
    model.key(Key::Backspace);
    model.key(Key::Enter);
    all(&screen(&mut model, 80, 24, false), &["filter web (1 shown)", "q quit"]);
    model.key(Key::Esc);
    all(&screen(&mut model, 80, 24, false), &["orders"]);
    model.key(Key::Char('/'));
    model.key(Key::Char('x'));
    model.key(Key::Esc);
    assert_eq!(model.list.filter(), "");
}

#[test]
fn keys_sort_and_pause_and_end() {
    let mut model = model();
    screen(&mut model, 80, 24, false);
    assert_eq!(model.key(Key::Char('A')), Action::None);
    all(&screen(&mut model, 80, 24, false), &["ALLOC/S▼"]);
    model.key(Key::Char('r'));
    all(&screen(&mut model, 80, 24, false), &["ALLOC/S▲"]);
    model.key(Key::Char('<'));
    assert_ne!(model.list.sort, Column::Rate);
    model.key(Key::Char('p'));
    all(&screen(&mut model, 80, 24, false), &["PAUSED"]);
    assert_eq!(model.key(Key::Char('q')), Action::Quit);
}

#[test]
fn the_chosen_line_that_cant_be_read_says_why() {
    let mut model = model();
    model.key(Key::End);
    let text = screen(&mut model, 200, 24, false);
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("/usr/bin/old: go1.16 is too old"), "{text}");
}

#[test]
fn the_help_tells_every_column_and_scrolls() {
    let mut model = model();
    model.key(Key::Char('?'));
    let text = screen(&mut model, 100, 60, false);
    for column in Column::ALL {
        all(&text, &[&format!("{} {}", column.key(), column.title())]);
    }
    all(&text, &["esc back"]);
    let first = screen(&mut model, 40, 10, false);
    model.key(Key::PageDown);
    assert_ne!(first, screen(&mut model, 40, 10, false));
    (0..100).for_each(|_| press(&mut model, Key::PageDown));
    all(&screen(&mut model, 40, 10, false), &["no signal"]);
    model.key(Key::Esc);
    assert!(!model.help);
}
