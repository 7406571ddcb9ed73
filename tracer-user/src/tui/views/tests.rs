//! Screens of several sizes, as text.

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::tui::model::detail::Pane;
use crate::tui::model::process::Column;
use crate::tui::model::shape::Shape;
use crate::tui::model::shape::made::shape;
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

/// A process that is opened, with profiles.
fn opened() -> Model {
    let mut model = model();
    press(&mut model, Key::Enter);
    let heap = |first| {
        shape(&[
            ("main.main;main.serve;encoding/json.Marshal;main.(*Order).MarshalJSON", 60 << 20),
            ("main.main;main.serve;main.render", first),
            ("net/http.(*conn).serve;bufio.NewReaderSize", 1 << 20),
        ])
    };
    let goroutines = shape(&[
        ("created by main.newPool shop/pool.go:18;main.(*pool).work;runtime.gopark", 100),
        ("created by main.newPool shop/pool.go:18;main.(*pool).work;main.draw", 17),
        ("main goroutine;main.main", 1),
    ]);
    let detail = model.detail.as_mut().unwrap();
    for first in [20 << 20, 39 << 20] {
        detail.load(Pane::Live, Ok(heap(first)));
        detail.load(Pane::Allocated, Ok(heap(first)));
    }
    detail.load(Pane::Goroutines, Ok(goroutines));
    model
}

#[test]
fn an_opened_process_at_three_sizes() {
    let text = screen(&mut opened(), 80, 24, false);
    all(
        &text,
        &[
            "orders  pid 4242  go1.27.3  in shop-orders-1",
            "GCs 2 (1.2 % CPU)",
            "p99 90µs",
            "heap 12.0M ─ goal 18.0M",
            "allocated 5.0M/s",
            "goroutines 120",
            "[1 live heap]",
            "  60.0       60.0M          =  main.(*Order).MarshalJSON ← json.Marshal ← main",
            "  39.0       39.0M     +19.0M  main.render ← main.serve ← main.main",
            "bufio.NewReaderSize ← http.(*conn).serve",
            "esc back",
            "q quit",
        ],
    );
    let text = screen(&mut opened(), 40, 10, false);
    all(&text, &["orders  pid 4242", "[1 live heap]", "60.0       60.0M", "main.(*O…", "esc back"]);
    let text = screen(&mut opened(), 200, 60, false);
    all(
        &text,
        &["GOMEMLIMIT 512M", "cgroup limit 1.0G", "123,456 objects", "made up", "max 18.0M"],
    );
}

#[test]
fn panes_are_reached_by_tab_and_number() {
    let mut model = opened();
    press(&mut model, Key::Tab);
    all(&screen(&mut model, 80, 24, false), &["[2 allocated]", "ALLOCATED SINCE OPEN"]);
    press(&mut model, Key::Char('3'));
    let text = screen(&mut model, 80, 24, false);
    all(&text, &["[3 goroutines]", "99.2         117", "main.newPool shop/pool.go:18"]);
    press(&mut model, Key::Enter);
    all(&screen(&mut model, 80, 24, false), &["100  runtime.gopark ← main.(*pool).work"]);
    press(&mut model, Key::Tab);
    let text = screen(&mut model, 80, 24, false);
    all(&text, &["[4 sizes]", "OBJECTS/S", "LIVE BYTES", "      16", "> 32K", "9.0M"]);
    press(&mut model, Key::Char('f'));
    all(&screen(&mut model, 80, 24, false), &["[4 sizes]", "OBJECTS/S"]);
    press(&mut model, Key::BackTab);
    press(&mut model, Key::Char('f'));
    assert_eq!(model.key(Key::Char('s')), Action::Save);
    press(&mut model, Key::Esc);
    all(&screen(&mut model, 80, 24, false), &["ALLOC/S", "GORO"]);
    assert!(model.detail.is_none());
}

#[test]
fn rows_open_and_are_ordered_by_what_changed() {
    let mut model = opened();
    press(&mut model, Key::Down);
    press(&mut model, Key::Enter);
    let text = screen(&mut model, 80, 24, false);
    let frames = text.lines().filter(|line| line.starts_with(&" ".repeat(20)));
    let frames: Vec<&str> = frames.map(str::trim).filter(|l| l.starts_with("main.")).collect();
    assert_eq!(frames, ["main.render", "main.serve", "main.main"], "{text}");
    press(&mut model, Key::Char('d'));
    let text = screen(&mut model, 80, 24, false);
    let at = |name: &str| text.find(name).unwrap();
    assert!(at("main.render ←") < at("MarshalJSON ←"), "{text}");
    assert_eq!(model.detail.as_ref().unwrap().view().chosen, 0, "the same row");
    // It is read again: what is open stays so, and changes are since it was opened.
    let again = shape(&[("main.main;main.serve;main.render", 10 << 20), ("main.new", 1)]);
    model.detail.as_mut().unwrap().load(Pane::Live, Ok(again));
    let text = screen(&mut model, 80, 24, false);
    all(&text, &["-10.0M  main.render", "main.new"]);
    assert!(model.detail.as_ref().unwrap().view().rows().len() == 2);
    press(&mut model, Key::Char('G'));
    press(&mut model, Key::Char('g'));
}

#[test]
fn a_flame_graph_is_walked_zoomed_and_left() {
    let mut model = opened();
    press(&mut model, Key::Char('f'));
    let text = screen(&mut model, 80, 24, false);
    all(&text, &["flame graph", "all  100M, 100 % of all", "▶all", " main.main", " main.serve"]);
    all(&text, &[" json.Marshal", " main.(*Order).MarshalJSON", " main.render"]);
    for _ in 0..3 {
        press(&mut model, Key::Down);
    }
    let text = screen(&mut model, 80, 24, false);
    all(&text, &["encoding/json.Marshal  60.0M, 60.0 % of all", "▶json.Marshal"]);
    press(&mut model, Key::Right);
    all(&screen(&mut model, 80, 24, false), &["main.render  39.0M, 39.0 % of all"]);
    press(&mut model, Key::Enter);
    let text = screen(&mut model, 80, 24, false);
    assert!(!text.contains("json.Marshal"), "zoomed in: {text}");
    press(&mut model, Key::Esc);
    all(&screen(&mut model, 80, 24, false), &["json.Marshal", "main.render"]);
    (0..5).for_each(|_| press(&mut model, Key::Esc));
    assert!(model.detail.is_none(), "out of all of it");
}

#[test]
fn without_colours_neighbours_and_the_chosen_frame_are_told_apart() {
    let mut model = opened();
    press(&mut model, Key::Char('f'));
    screen(&mut model, 80, 24, false);
    (0..3).for_each(|_| press(&mut model, Key::Down));
    let area = Rect::new(0, 0, 80, 24);
    let mut buffer = Buffer::empty(area);
    draw(&mut model, Theme { color: false }, area, &mut buffer);
    let row = (0..24).find(|y| (0..80).any(|x| buffer[(x, *y)].symbol() == "▶")).unwrap();
    let styles: Vec<_> = (0..80).map(|x| buffer[(x, row)].style().add_modifier).collect();
    assert!(styles.windows(2).any(|pair| pair[0] != pair[1]));
    assert!((0..80).all(|x| buffer[(x, row)].style().bg == Some(ratatui::style::Color::Reset)));
}

#[test]
fn what_there_is_none_of_is_told() {
    let mut model = model();
    press(&mut model, Key::Enter);
    all(&screen(&mut model, 80, 24, false), &["reading …"]);
    let detail = model.detail.as_mut().unwrap();
    detail.load(Pane::Live, Err("process 4242 keeps no heap profile: its sampler is off".into()));
    detail.load(Pane::Allocated, Ok(Shape::default()));
    for is_flame in [false, true] {
        all(&screen(&mut model, 80, 24, false), &["keeps no heap profile: its sampler is off"]);
        assert_eq!(model.detail.as_ref().unwrap().shows_flame(), is_flame);
        press(&mut model, Key::Char('f'));
    }
    press(&mut model, Key::Tab);
    all(&screen(&mut model, 80, 24, false), &["nothing was counted yet"]);
    let ended = model.time.unwrap() + std::time::Duration::from_secs(1);
    model.update(ended, Vec::new(), Vec::new());
    all(&screen(&mut model, 80, 24, false), &["HAS ENDED", "orders  pid 4242"]);
    assert_eq!(model.detail.as_ref().unwrap().wants(), None);
}

#[test]
fn an_opened_process_is_drawn_at_any_size() {
    for width in (1..34).chain([80, 200]) {
        for height in (1..16).chain([24, 60]) {
            let mut model = opened();
            for _ in Pane::ALL {
                for key in [Key::Enter, Key::Char('f'), Key::Down, Key::Char('f'), Key::Tab] {
                    screen(&mut model, width, height, true);
                    press(&mut model, key);
                }
            }
        }
    }
}
