//! `docs/configuration.md` lists what there is, and nothing else; `docs/directives.md` is made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use revolve_server::modules;

const PAGE: &str = include_str!("../../../docs/configuration.md");

/// Every directive of nginx's with its module, a line each.
const NGINX: &str = include_str!("../src/config/nginx_directives.tsv");

/// The cells of each row of the page's tables whose first cell is a name in backquotes.
fn rows() -> impl Iterator<Item = Vec<&'static str>> {
    PAGE.lines()
        .filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"))
        .map(|line| line.split(" | ").map(|cell| cell.trim()).collect())
}

#[test]
fn every_directive_stands_there_with_its_contexts() {
    // A name may have a row in each block where it means something else, but none twice for one block.
    let mut documented: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for cells in rows().filter(|cells| !cells[0].starts_with('$')) {
        let name = cells[0].trim_end_matches('`');
        assert_eq!(cells.len(), 4, "{name}: name, value, default, contexts");
        let known = documented.entry(name).or_default();
        for context in cells[3].split(", ") {
            assert!(known.insert(context), "{name} stands there twice");
        }
    }
    let mut known: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, contexts) in revolve_server::directives() {
        known.entry(name).or_default().extend(contexts);
    }
    known.insert("include", BTreeSet::from(["any"]));
    for (name, contexts) in &known {
        let page = documented.get(name);
        assert_eq!(page, Some(contexts), "{name} in docs/configuration.md");
    }
    for name in documented.keys() {
        assert!(known.contains_key(name), "there is no directive {name}");
    }
}

#[test]
fn every_variable_stands_there() {
    let documented: BTreeSet<&str> = rows()
        .filter_map(|cells| cells[0].strip_prefix('$'))
        .map(|name| name.trim_end_matches('`'))
        .filter(|name| !name.contains('*'))
        .collect();
    let known: BTreeSet<&str> = modules::variable_names().collect();
    assert_eq!(documented, known);
}

const HEAD: &str = "\
# Directives from A to Z

Each line leads to the section of [configuration.md](configuration.md) that says more. This page is written by
`REVOLVE_WRITE=1 cargo test -p revolve-server --test documentation`, from the tables there.

| directive | takes | default | may stand in | more |
|---|---|---|---|---|
";

/// The modules that are not to be built, with the reason and what to do instead.
const NOT_BUILT: &str = include_str!("../src/config/not_built.tsv");

const MISSING: &str = "
## What nginx has and Revolve does not have yet

A configuration that names one of them is refused, with its file and line.

| module | directives |
|---|---|
";

const NEVER: &str = "
## What nginx has and Revolve does not build

A configuration that names one of them is refused, with its file and line, the reason and what to do instead.

| module | directives | why not | instead |
|---|---|---|---|
";

/// The rows of directives, each with the heading that it stands below.
fn directives() -> Vec<(Vec<&'static str>, &'static str)> {
    let mut heading = "";
    let mut found = Vec::new();
    for line in PAGE.lines() {
        if let Some(text) = line.strip_prefix("## ") {
            heading = text;
        }
        let row = line
            .strip_prefix("| `")
            .and_then(|row| row.strip_suffix(" |"));
        let Some(row) = row.filter(|row| !row.starts_with('$')) else {
            continue;
        };
        let mut cells: Vec<&str> = row.split(" | ").map(str::trim).collect();
        cells[0] = cells[0].trim_end_matches('`');
        found.push((cells, heading));
    }
    found.sort();
    found
}

/// The anchor that a heading has on the page.
fn anchor(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|it| it.is_alphanumeric() || matches!(it, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn directives_page() -> String {
    let mut page = HEAD.to_owned();
    let directives = directives();
    for (cells, heading) in &directives {
        let [name, takes, default, contexts] = cells[..] else {
            panic!("{cells:?}: name, value, default, contexts");
        };
        let anchor = anchor(heading);
        writeln!(
            page,
            "| `{name}` | {takes} | {default} | {contexts} | [{heading}](configuration.md#{anchor}) |"
        )
        .expect("writing to memory");
    }
    page.push_str(MISSING);
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in NGINX.lines() {
        let (module, name) = line.split_once('\t').expect("module and directive");
        if !directives.iter().any(|(cells, _)| cells[0] == name) {
            missing.entry(module).or_default().insert(name);
        }
    }
    let mut never = String::new();
    for (module, names) in missing {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        let names = names.join(", ");
        let group = match module.starts_with("mail_") {
            true => "mail",
            false => module,
        };
        let mut reasons = NOT_BUILT.lines().map(|line| line.split('\t').collect());
        match reasons.find(|cells: &Vec<&str>| cells[0] == group) {
            None => writeln!(page, "| {module} | {names} |"),
            Some(cells) => writeln!(
                never,
                "| {module} | {names} | {} | {} |",
                cells[1], cells[2]
            ),
        }
        .expect("writing to memory");
    }
    if !never.is_empty() {
        page.push_str(NEVER);
        page.push_str(&never);
    }
    page
}

#[test]
fn the_page_of_directives_is_that_of_the_configuration() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/directives.md");
    if std::env::var_os("REVOLVE_WRITE").is_some() {
        std::fs::write(&path, directives_page()).expect("the page can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == directives_page(),
        "docs/directives.md is not what docs/configuration.md says: write it again with REVOLVE_WRITE=1"
    );
}
