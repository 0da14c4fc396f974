//! What an operator says of a server, kept in the file of its group (`state`).

use std::io;
use std::path::Path;

use super::order::{Change, Order};

/// Puts an order into a file, which is there or is not. Whoever reads it sees all of it, or what was before.
pub(super) fn keep(path: &Path, order: &Order) -> io::Result<()> {
    let before = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read?,
    };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    std::fs::write(&new, with(&before, order))?;
    std::fs::rename(&new, path)
}

/// The lines of a file with an order in them.
fn with(before: &str, order: &Order) -> String {
    let mut lines: Vec<String> = before.lines().map(str::to_owned).collect();
    let is_of = |line: &str| {
        let rest = line.trim().strip_prefix("server ").unwrap_or_default();
        let name = rest.split([' ', ';', '\t']).next();
        name == Some(order.server.as_str())
    };
    match lines.iter_mut().find(|line| is_of(line)) {
        Some(line) => *line = changed(line, order.change),
        None => {
            let line = format!("server {};", order.server);
            lines.push(changed(&line, order.change));
        }
    }
    lines.join("\n") + "\n"
}

fn changed(line: &str, change: Change) -> String {
    let words = line.trim().trim_end_matches(';').split_whitespace();
    let is_state = |word: &&str| matches!(*word, "down" | "drain");
    let kept = words.filter(|word| match change {
        Change::Weight(_) => !word.starts_with("weight="),
        _ => !is_state(word),
    });
    let mut words: Vec<String> = kept.map(str::to_owned).collect();
    match change {
        Change::Up => {}
        Change::Down => words.push("down".into()),
        Change::Drain => words.push("drain".into()),
        Change::Weight(weight) => words.push(format!("weight={weight}")),
    }
    words.join(" ") + ";"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(before: &str, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        with(before, &Order::parse(&words).unwrap())
    }

    #[test]
    fn orders_take_the_place_of_those_before() {
        let down = said("", "app server a:1 down");
        assert_eq!(down, "server a:1 down;\n");
        let heavy = said(&down, "app server a:1 weight 5");
        assert_eq!(heavy, "server a:1 down weight=5;\n");
        assert_eq!(
            said(&heavy, "app server a:1 drain"),
            "server a:1 weight=5 drain;\n"
        );
        assert_eq!(said(&heavy, "app server a:1 up"), "server a:1 weight=5;\n");
        let others = "# kept\nserver b:1 max_fails=3 down;\n";
        let both = said(others, "app server a:1 drain");
        assert_eq!(
            both,
            "# kept\nserver b:1 max_fails=3 down;\nserver a:1 drain;\n"
        );
        assert_eq!(
            said(others, "app server b:1 up"),
            "# kept\nserver b:1 max_fails=3;\n"
        );
    }
}
