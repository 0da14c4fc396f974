//! `docs/configuration.md` lists what there is, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use revolve_server::modules;

const PAGE: &str = include_str!("../../../docs/configuration.md");

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
