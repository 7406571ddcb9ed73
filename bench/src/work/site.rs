//! A site for hugo: sections, taxonomies, templates, short codes, tables, highlighted code.

use std::{fmt::Write as _, path::Path};

use anyhow::Result;

use super::write;
use crate::random::Random;

const SECTIONS: usize = 8;

const CONFIG: &str = r#"baseURL = "http://127.0.0.1/"
title = "Generated"
timeout = "10m"
[taxonomies]
tag = "tags"
series = "series"
[markup.highlight]
lineNos = true
"#;

const BASE: &str = r#"<!doctype html><html><head>
<title>{{ block "title" . }}{{ .Title | title }}{{ end }}</title></head><body>
<nav>{{ range first 30 .Site.RegularPages.ByTitle }}
<a href="{{ .RelPermalink }}">{{ .LinkTitle | upper }}</a>{{ end }}</nav>
{{ block "main" . }}{{ end }}</body></html>"#;

const SINGLE: &str = r#"{{ define "main" }}<h1>{{ .Title }}</h1>{{ .TableOfContents }}{{ .Content }}
<p>{{ .WordCount }} {{ .ReadingTime }} {{ .Summary | plainify | truncate 100 }}</p>
{{ range first 5 (.Site.RegularPages.Related .) }}
<a href="{{ .RelPermalink }}">{{ .Title }}</a>{{ end }}
{{ range (.GetTerms "tags") }}<i>{{ .LinkTitle }}</i>{{ end }}{{ end }}"#;

const LIST: &str = r#"{{ define "main" }}<h1>{{ .Title }}</h1>
{{ range (.Paginate .Pages.ByDate.Reverse).Pages }}<a href="{{ .RelPermalink }}">{{ .Title }}</a>
{{ .Date.Format "2006-01-02" }} {{ dict "a" .Title "b" (slice 1 2 3) | jsonify }}{{ end }}{{ end }}"#;

const NOTE: &str = r#"<div class="note">{{ .Inner | markdownify }} {{ .Get 0 }}</div>"#;

const WORDS: &[&str] = &[
    "heap", "stack", "span", "object", "pointer", "table", "tree", "list", "value", "field",
    "record", "page", "link", "word", "line", "block", "cache", "frame", "probe", "site", "trace",
    "symbol", "map", "key", "node", "edge", "path",
];

/// Writes the site's sources below `dir`.
pub fn generate(dir: &Path, pages: usize) -> Result<()> {
    write(&dir.join("hugo.toml"), CONFIG)?;
    write(&dir.join("layouts/_default/baseof.html"), BASE)?;
    write(&dir.join("layouts/_default/single.html"), SINGLE)?;
    write(&dir.join("layouts/_default/list.html"), LIST)?;
    write(&dir.join("layouts/shortcodes/note.html"), NOTE)?;
    let mut random = Random(1);
    for number in 0..pages {
        let path = dir.join(format!("content/s{}/p{number}.md", number % SECTIONS));
        write(&path, &page(&mut random, number)?)?;
    }
    Ok(())
}

fn page(random: &mut Random, number: usize) -> Result<String> {
    let mut words = |count: usize| {
        let words: Vec<&str> = (0..count).map(|_| random.of(WORDS)).collect();
        words.join(" ")
    };
    let (month, day) = (1 + number % 12, 1 + number % 28);
    let mut text = format!(
        "---\ntitle: \"{} {number}\"\ndate: 2024-{month:02}-{day:02}\ntags: [{}, {}]\n\
         series: [{}]\n---\n",
        words(4),
        words(1),
        words(1),
        words(1)
    );
    for section in 0..6 {
        write!(
            text,
            "## {}\n\n{} **{}** [{}](http://127.0.0.1/{section}) `{}`\n\n* {}\n* {}\n\n\
             | a | b |\n|---|---|\n| {} | {} |\n\n\
             ```go\nfunc {}(a int, b string) (map[string]int, error) {{\n\
             \tfor i := 0; i < a; i++ {{ fmt.Println(\"{}\", i*2) }}\n\treturn nil, nil\n}}\n```\n\n\
             {{{{< note \"{}\" >}}}}{} _{}_{{{{< /note >}}}}\n\n",
            words(3),
            words(80),
            words(2),
            words(2),
            words(1),
            words(5),
            words(6),
            words(1),
            words(2),
            words(1),
            words(3),
            words(2),
            words(10),
            words(2),
        )?;
    }
    Ok(text)
}
