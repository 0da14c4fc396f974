//! What a reload changes, in the words of the person who changed it.
//!
//! Two configurations are compared as they were written, directive by directive, with includes in
//! their places: so moving a server to another file changes files and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use revolve_conf::{Directive, Snapshot, SnapshotFiles};
use revolve_server::Config;
use serde_json::{Value, json};

/// As many are named in one line of the log.
const LOGGED_MAX: usize = 8;

/// A configuration with the files that it was read from.
pub(crate) struct Version<'a> {
    pub(crate) main: &'a Path,
    pub(crate) globals: Option<&'a str>,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) config: &'a Config,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// What kind of thing: `file`, `listen`, `server`, or the block of a directive.
    kind: &'static str,
    /// Which, and what became of it.
    text: String,
}

/// All differences between two configurations, files first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes(Vec<Change>);

impl Changes {
    /// Compares.
    pub(crate) fn between(old: &Version<'_>, new: &Version<'_>) -> Changes {
        let mut changes = Changes::default();
        changes.files(old.snapshot, new.snapshot);
        let listens = |config: &Config| -> BTreeSet<String> {
            let addresses = config.listens().map(|spec| spec.id.to_string());
            addresses.collect()
        };
        changes.set(
            "listen",
            "",
            &listens(old.config),
            &listens(new.config),
            ("added", "removed"),
        );
        changes.directives(&parse(old), &parse(new));
        changes
    }

    fn push(&mut self, kind: &'static str, text: String) {
        self.0.push(Change { kind, text });
    }

    fn files(&mut self, old: &Snapshot, new: &Snapshot) {
        for (path, bytes) in new.files() {
            let word = match old.file(path) {
                None => "added",
                Some(before) if before != bytes => "changed",
                Some(_) => continue,
            };
            self.push("file", format!("{} {word}", path.display()));
        }
        for (path, was_known) in new.changed_secrets(old) {
            let word = if was_known { "changed" } else { "added" };
            self.push("file", format!("{} {word}", path.display()));
        }
        for (path, _) in old.files().filter(|(path, _)| new.file(path).is_none()) {
            self.push("file", format!("{} no longer read", path.display()));
        }
    }

    /// What is in one set alone.
    fn set(
        &mut self,
        kind: &'static str,
        owner: &str,
        old: &BTreeSet<String>,
        new: &BTreeSet<String>,
        (added, removed): (&str, &str),
    ) {
        for name in new.difference(old) {
            self.push(kind, format!("{owner}{name} {added}"));
        }
        for name in old.difference(new) {
            self.push(kind, format!("{owner}{name} {removed}"));
        }
    }

    fn directives(&mut self, old: &Parts, new: &Parts) {
        for (kind, before) in &old.settings {
            let nothing = Vec::new();
            let after = new.settings.get(kind).unwrap_or(&nothing);
            self.settings(kind, "", before, after);
        }
        for (kind, after) in &new.settings {
            if !old.settings.contains_key(kind) {
                self.settings(kind, "", &[], after);
            }
        }
        let names = |parts: &Parts| -> BTreeSet<String> { parts.servers.keys().cloned().collect() };
        self.set("server", "", &names(old), &names(new), ("added", "removed"));
        for (name, before) in &old.servers {
            if let Some(after) = new.servers.get(name) {
                self.server(name, before, after);
            }
        }
    }

    fn server(&mut self, name: &str, old: &ServerParts, new: &ServerParts) {
        let owner = format!("{name}: ");
        self.settings("server", &owner, &old.settings, &new.settings);
        let names = |server: &ServerParts| -> BTreeSet<String> {
            server.locations.keys().cloned().collect()
        };
        self.set(
            "server",
            &owner,
            &names(old),
            &names(new),
            ("added", "removed"),
        );
        for (location, before) in &old.locations {
            if new.locations.get(location).is_some_and(|it| it != before) {
                self.push("server", format!("{owner}{location} changed"));
            }
        }
    }

    /// Directives that came, went, or have other arguments.
    fn settings(&mut self, kind: &'static str, owner: &str, old: &[Setting], new: &[Setting]) {
        let only = |these: &[Setting], those: &[Setting]| -> Vec<Setting> {
            let others = |it: &&Setting| !those.contains(it);
            these.iter().filter(others).cloned().collect()
        };
        let (gone, mut come) = (only(old, new), only(new, old));
        for before in gone {
            let after = come.iter().position(|it| it.name == before.name);
            let text = match after.map(|place| come.remove(place)) {
                Some(after) if before.is_plain() && after.is_plain() => {
                    format!("{} {} -> {}", before.name, before.rest, after.rest)
                }
                Some(_) => format!("{} changed", before.name),
                None => format!("{} removed", before.shown()),
            };
            self.push(kind, format!("{owner}{text}"));
        }
        for after in come {
            self.push(kind, format!("{owner}{} added", after.shown()));
        }
        if only(old, new).is_empty() && only(new, old).is_empty() && old != new {
            self.push(kind, format!("{owner}directives in another order"));
        }
    }

    /// All in one line, for the log.
    pub(crate) fn summary(&self) -> String {
        if self.0.is_empty() {
            return "nothing in it differs".into();
        }
        let shown = self.0.iter().take(LOGGED_MAX);
        let mut words: Vec<String> = shown
            .map(|change| format!("{} {}", change.kind, change.text))
            .collect();
        if let Some(more) = self.0.len().checked_sub(LOGGED_MAX).filter(|&it| it > 0) {
            words.push(format!("and {more} more"));
        }
        words.join("; ")
    }

    /// As a list for programs.
    pub(crate) fn json(&self) -> Value {
        let change = |change: &Change| json!({"kind": change.kind, "text": change.text});
        self.0.iter().map(change).collect()
    }
}

/// One directive: its name, and all that stands behind it in one spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    name: String,
    rest: String,
}

/// Values longer than this are not worth a place in a summary.
const SHORT_BYTES_MAX: usize = 40;
/// Where these words are, a value may be a secret, which must not get into a log.
const SECRETS: [&str; 6] = ["auth", "header", "key", "password", "secret", "token"];

impl Setting {
    fn of(directive: &Directive) -> Setting {
        let mut rest = String::new();
        write_rest(directive, &mut rest);
        Setting {
            name: directive.name.text.clone(),
            rest,
        }
    }

    /// Whether the value is short, of one line, and nobody's secret.
    fn is_plain(&self) -> bool {
        let all = format!("{} {}", self.name, self.rest).to_lowercase();
        self.rest.len() <= SHORT_BYTES_MAX
            && !self.rest.contains(['\n', '{'])
            && !SECRETS.iter().any(|word| all.contains(word))
    }

    fn shown(&self) -> String {
        if self.is_plain() && !self.rest.is_empty() {
            format!("{} {}", self.name, self.rest)
        } else {
            self.name.clone()
        }
    }
}

fn write_rest(directive: &Directive, out: &mut String) {
    for (place, word) in directive.args.iter().enumerate() {
        if place > 0 {
            out.push(' ');
        }
        out.push_str(&word.text);
    }
    for inner in directive.block.iter().flatten() {
        out.push_str(" { ");
        out.push_str(&inner.name.text);
        out.push(' ');
        write_rest(inner, out);
        out.push_str(" }");
    }
}

/// A configuration taken apart.
#[derive(Default)]
struct Parts {
    /// By the block in which they stand.
    settings: BTreeMap<&'static str, Vec<Setting>>,
    servers: BTreeMap<String, ServerParts>,
}

#[derive(Default)]
struct ServerParts {
    settings: Vec<Setting>,
    locations: BTreeMap<String, Setting>,
}

fn parse(version: &Version<'_>) -> Parts {
    let mut files = SnapshotFiles::new(version.snapshot.clone());
    let (document, _) = revolve_conf::parse(version.main, version.globals, &mut files);
    let mut parts = Parts::default();
    for directive in &document.directives {
        match directive.name.text.as_str() {
            "http" => parts.http(directive),
            "events" => parts.all("events", directive.block.iter().flatten()),
            _ => parts.all("main", [directive]),
        }
    }
    parts
}

impl Parts {
    fn all<'a>(&mut self, kind: &'static str, directives: impl IntoIterator<Item = &'a Directive>) {
        let settings = self.settings.entry(kind).or_default();
        settings.extend(directives.into_iter().map(Setting::of));
    }

    fn http(&mut self, http: &Directive) {
        for directive in http.block.iter().flatten() {
            if directive.name.text == "server" {
                self.server(directive);
            } else {
                self.all("http", [directive]);
            }
        }
    }

    fn server(&mut self, server: &Directive) {
        let block = || server.block.iter().flatten();
        let first = |name: &str| {
            let named = block().find(|directive| directive.name.text == name);
            named.and_then(|directive| Some(directive.args.first()?.text.clone()))
        };
        let name = first("server_name").filter(|name| !name.is_empty());
        let name = name.or_else(|| first("listen").map(|listen| format!("on {listen}")));
        let name = numbered(
            &self.servers,
            name.unwrap_or_else(|| "without a name".into()),
        );
        let mut parts = ServerParts::default();
        for directive in block() {
            if directive.name.text == "location" {
                let words = directive.args.iter().map(|word| word.text.as_str());
                let words: Vec<&str> = words.collect();
                let location = numbered(&parts.locations, format!("location {}", words.join(" ")));
                parts.locations.insert(location, Setting::of(directive));
            } else {
                parts.settings.push(Setting::of(directive));
            }
        }
        self.servers.insert(name, parts);
    }
}

/// A name that no other has: several servers may share a name, on several addresses.
fn numbered<T>(known: &BTreeMap<String, T>, name: String) -> String {
    if !known.contains_key(&name) {
        return name;
    }
    let more = (2..).map(|number| format!("{name} ({number})"));
    let free = more.into_iter().find(|name| !known.contains_key(name));
    free.unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use revolve_server::Prefix;

    use super::*;

    fn lines(changes: &Changes) -> Vec<String> {
        let line = |change: &Change| format!("{:<8} {}", change.kind, change.text);
        changes.0.iter().map(line).collect()
    }

    const MAIN: &str = "/x/nginx.conf";

    fn read(files: &[(&str, &str)]) -> (Snapshot, std::sync::Arc<Config>) {
        let mut snapshot = Snapshot::default();
        for (path, text) in files {
            snapshot.insert_file(*path, text.as_bytes().to_vec());
        }
        let prefix = Prefix {
            prefix: "/x".into(),
            error_log: "stderr".into(),
            access_log: None,
        };
        let mut files = SnapshotFiles::new(snapshot.clone());
        let main = Path::new(MAIN);
        let (config, sources, diagnostics) = revolve_server::load(main, &prefix, None, &mut files);
        let text = diagnostics.render(&sources, "test", false);
        (snapshot, config.unwrap_or_else(|| panic!("{text}")))
    }

    fn between(old: &[(&str, &str)], new: &[(&str, &str)]) -> Changes {
        let ((old_files, old), (new_files, new)) = (read(old), read(new));
        let version = |snapshot, config| Version {
            main: Path::new(MAIN),
            globals: None,
            snapshot,
            config,
        };
        Changes::between(&version(&old_files, &old), &version(&new_files, &new))
    }

    const SITE: &str = "events { } http { server { listen 81; server_name a.example; \
        location / { return 200 a; } location /old { return 404; } } }";

    #[test]
    fn what_came_went_and_changed_is_named() {
        let new = "worker_processes 2; events { worker_connections 9; } \
            http { keepalive_timeout 5; \
            server { listen 82; server_name a.example; root /r; \
            location / { return 200 b; } location = /new { return 404; } } \
            server { listen 81; server_name b.example; } }";
        let changes = between(&[(MAIN, SITE)], &[(MAIN, new)]);
        assert_eq!(
            lines(&changes),
            [
                "file     /x/nginx.conf changed",
                "listen   0.0.0.0:82 added",
                "events   worker_connections 9 added",
                "http     keepalive_timeout 5 added",
                "main     worker_processes 2 added",
                "server   b.example added",
                "server   a.example: listen 81 -> 82",
                "server   a.example: root /r added",
                "server   a.example: location = /new added",
                "server   a.example: location /old removed",
                "server   a.example: location / changed",
            ]
        );
        let summary = changes.summary();
        assert!(summary.starts_with("file /x/nginx.conf changed; listen 0.0.0.0:82 added; "));
        assert!(summary.ends_with("; and 3 more"), "{summary}");
    }

    #[test]
    fn moving_a_server_to_another_file_changes_files_alone() {
        let server = "server { listen 81; server_name a.example; \
            location / { return 200 a; } location /old { return 404; } }";
        let new = [
            (MAIN, "events { } http { include a.conf; }"),
            ("/x/a.conf", server),
        ];
        let changes = between(&[(MAIN, SITE)], &new);
        assert_eq!(
            lines(&changes),
            ["file     /x/a.conf added", "file     /x/nginx.conf changed"]
        );
        let back = between(&new, &[(MAIN, SITE)]);
        assert_eq!(
            lines(&back),
            [
                "file     /x/nginx.conf changed",
                "file     /x/a.conf no longer read"
            ]
        );
    }

    #[test]
    fn nothing_is_said_of_nothing_and_order_counts() {
        let same = between(&[(MAIN, SITE)], &[(MAIN, SITE)]);
        assert_eq!(same, Changes::default());
        assert_eq!(same.summary(), "nothing in it differs");
        let one = "events {} http { server { add_header a 1; add_header b 2; } }";
        let other = "events {} http { server { add_header b 2; add_header a 1; } }";
        let lines = lines(&between(&[(MAIN, one)], &[(MAIN, other)]));
        assert_eq!(
            lines[1..],
            ["server   without a name: directives in another order"]
        );
    }

    #[test]
    fn a_value_that_may_be_a_secret_is_not_shown() {
        let one = "events {} http { server { add_header X-Token abc; } }";
        let lines = lines(&between(
            &[(MAIN, one)],
            &[(MAIN, &one.replace("abc", "abd"))],
        ));
        assert_eq!(lines[1..], ["server   without a name: add_header changed"]);
    }

    #[test]
    fn servers_of_one_name_are_told_apart() {
        let two = "events {} http { server { listen 81; server_name a; } \
            server { listen 82; server_name a; } }";
        let changed = two.replace("82;", "82; root /r;");
        let lines = lines(&between(&[(MAIN, two)], &[(MAIN, &changed)]));
        assert_eq!(lines[1..], ["server   a (2): root /r added"]);
    }
}
