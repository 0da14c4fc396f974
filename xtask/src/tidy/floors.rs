//! Arrows between the rooms of a crate point down too.
//!
//! A room is a folder of `src/`, or a file that lies there directly; a folder within a folder is a
//! room of its own where the table names it. Rooms on one floor do not know each other. What still
//! points up, and the files that know each other in circles, are counted in `xtask/tidy.allow`.

use std::collections::BTreeMap;

use super::allowances::Figure;
use super::finding::Finding;
use super::houses::{HOUSES, House};
use super::imports::{Imports, Place};
use super::tree::Tree;

/// What one crate's imports come to.
pub(super) struct Measured {
    crate_path: String,
    rooms: usize,
    arrows: usize,
    /// Arrows that point up and have no reason in the table, each with an example.
    up: Vec<(String, String, Place)>,
    /// Files that know each other in circles, the largest circle first.
    circles: Vec<Vec<String>>,
    pub(super) findings: Vec<Finding>,
}

/// Measures every crate of the table.
pub(super) fn measure(tree: &Tree) -> Vec<Measured> {
    HOUSES
        .iter()
        .map(|house| measure_one(tree, house))
        .collect()
}

fn measure_one(tree: &Tree, house: &House) -> Measured {
    let imports = Imports::of(tree, house.folder);
    let mut measured = Measured {
        crate_path: house.folder.trim_end_matches("/src/").into(),
        rooms: 0,
        arrows: 0,
        up: Vec::new(),
        circles: imports.circles(),
        findings: Vec::new(),
    };
    let mut rooms = BTreeMap::new();
    for module in &imports.modules {
        match house.room(module) {
            Some((room, floor)) => _ = rooms.insert(room, floor),
            None => measured.findings.push(Finding::new(
                format!("{}{}", house.folder, module.replace("::", "/")),
                1,
                format!("`{module}` stands on no floor"),
                "give its room a place in xtask/src/tidy/houses.rs",
            )),
        }
    }
    let mut arrows: BTreeMap<(&str, &str), Place> = BTreeMap::new();
    for ((from, to), place) in &imports.arrows {
        let (Some((from, _)), Some((to, _))) = (house.room(from), house.room(to)) else {
            continue;
        };
        if from != to {
            arrows.entry((from, to)).or_insert_with(|| place.clone());
        }
    }
    (measured.rooms, measured.arrows) = (rooms.len(), arrows.len());
    for (from, to, _) in house.upward {
        if !arrows.contains_key(&(*from, *to)) {
            measured.findings.push(Finding::new(
                "xtask/src/tidy/houses.rs",
                1,
                format!("{}: the arrow from {from} to {to} is gone", house.folder),
                "remove its row",
            ));
        }
    }
    let named = |from: &str, to: &str| house.upward.iter().any(|one| (one.0, one.1) == (from, to));
    let up = arrows
        .into_iter()
        .filter(|((from, to), _)| rooms.get(from) <= rooms.get(to) && !named(from, to));
    measured.up = up
        .map(|((from, to), place)| (from.into(), to.into(), place))
        .collect();
    measured
}

impl House {
    /// The room of a module, and its floor.
    fn room(&self, module: &str) -> Option<(&'static str, usize)> {
        let floors = self.floors.iter().enumerate();
        let rooms =
            floors.flat_map(|(floor, rooms)| rooms.split(' ').map(move |room| (room, floor)));
        rooms
            .filter(|(room, _)| {
                let rest = module.strip_prefix(room);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
            })
            .max_by_key(|(room, _)| room.len())
    }
}

impl Measured {
    /// Arrows that point up, and files in circles, as figures that may only fall.
    pub(super) fn figures(&self) -> [Figure; 2] {
        let arrow = |(from, to, place): &(String, String, Place)| {
            format!("\n    {from} -> {to} ({}:{})", place.path, place.line)
        };
        // A list of modules and each module know each other by design, and their number only grows.
        let is_counted = |module: &&String| !module.contains("::modules::");
        let circle = |circle: &Vec<String>| {
            let counted: Vec<&str> = circle
                .iter()
                .filter(is_counted)
                .map(String::as_str)
                .collect();
            format!("\n    {}", counted.join(" "))
        };
        let figure = |kind: &str, count: usize, what: &str, remedy: String| Figure {
            subject: format!("{kind} {}", self.crate_path),
            count,
            count_max: 0,
            finding: Finding::new(&self.crate_path, 1, format!("{count} {what}"), remedy),
        };
        let up: String = self.up.iter().map(arrow).collect();
        let circles: String = self.circles.iter().map(circle).collect();
        [
            figure(
                "up",
                self.up.len(),
                "arrows between rooms point up",
                format!("move what is needed down, or hand it in from above:{up}"),
            ),
            figure(
                "circles",
                self.circles.iter().flatten().filter(is_counted).count(),
                "files know each other in circles",
                format!("move what both need into a file that knows neither:{circles}"),
            ),
        ]
    }
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let circles: Vec<String> = self.circles.iter().map(|c| c.len().to_string()).collect();
        write!(
            f,
            "{}: {} rooms, {} arrows, {} point up; circles of files: {}",
            self.crate_path,
            self.rooms,
            self.arrows,
            self.up.len(),
            if circles.is_empty() {
                "none".into()
            } else {
                circles.join(", ")
            }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUSE: House = House {
        folder: "c/src/",
        floors: &["base log", "http", "http::modules", "lib"],
        upward: &[("http", "http::modules", "the list of modules")],
    };

    fn measured(extra: &[(&str, &str)]) -> Measured {
        let files = [
            ("c/src/lib.rs", "mod base; mod http; mod log; use http::A;"),
            ("c/src/base.rs", ""),
            (
                "c/src/http/mod.rs",
                "use modules::LIST; use crate::log::Log;",
            ),
            ("c/src/http/modules/mod.rs", "use super::A;"),
        ];
        measure_one(&Tree::of(&[&files, extra].concat()), &HOUSE)
    }

    #[test]
    fn arrows_that_point_down_or_are_named_are_in_order() {
        let measured = measured(&[("c/src/log/mod.rs", "use std::fmt;")]);
        assert_eq!(measured.findings, []);
        let expected = "c: 5 rooms, 4 arrows, 0 point up; circles of files: 2";
        assert_eq!(measured.to_string(), expected);
    }

    #[test]
    fn arrows_up_and_sideways_are_counted_with_an_example() {
        let log = (
            "c/src/log.rs",
            "use crate::base::B;\nuse crate::http::modules::M;",
        );
        let [up, circles] = measured(&[log]).figures();
        assert_eq!((up.subject.as_str(), up.count), ("up c", 2));
        assert!(
            up.finding
                .remedy
                .contains("log -> http::modules (c/src/log.rs:2)")
        );
        assert_eq!((circles.subject.as_str(), circles.count), ("circles c", 3));
    }

    #[test]
    fn a_room_without_a_floor_and_a_reason_for_nothing_are_findings() {
        assert_eq!(measured(&[("c/src/new/a.rs", "")]).findings.len(), 1);
        let tree = Tree::of(&[("c/src/http/mod.rs", "")]);
        assert_eq!(measure_one(&tree, &HOUSE).findings.len(), 1);
    }
}
