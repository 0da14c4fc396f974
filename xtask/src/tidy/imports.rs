//! Which file of a crate knows which other: what `use` brings in, and paths that are written out.
//!
//! Tokens are read and not syntax, so that what stands inside of macros counts too; `#[cfg(test)]`
//! items do not. A name that a module only passes on (`pub use`) leads to where it comes from.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::UseTree;

use super::tree::{MODULES_MACRO, Tree, listed_modules};

/// The name of a crate's own root among its modules.
pub(super) const ROOT: &str = "lib";
/// Names that are passed on from module to module, at most.
const RENAMED_MAX: usize = 8;

/// A place in the sources.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) path: String,
    pub(super) line: usize,
}

/// The modules of one crate that have files of their own, and what each knows. A module's name is
/// its path without `crate`: `http::modules::core`, and [`ROOT`] for the root.
pub(super) struct Imports {
    pub(super) modules: BTreeSet<String>,
    /// Who knows whom, and the first place that says so.
    pub(super) arrows: BTreeMap<(String, String), Place>,
}

impl Imports {
    /// Reads the files below `folder`, a crate's `src/`.
    pub(super) fn of(tree: &Tree, folder: &str) -> Self {
        let mut reading = Reading::default();
        let files = tree.files.iter().filter_map(|file| {
            let inside = file.path.strip_prefix(folder)?.strip_suffix(".rs")?;
            let inside = inside.strip_suffix("/mod").unwrap_or(inside);
            let module: Vec<String> = match inside {
                "lib" | "main" => Vec::new(),
                inside => inside.split('/').map(Into::into).collect(),
            };
            Some((module, file))
        });
        let files: Vec<_> = files.collect();
        for (module, file) in &files {
            reading.files.insert(module.clone());
            reading.scan(&file.path, module.clone(), file.tokens.clone());
        }
        let tests = std::mem::take(&mut reading.tests);
        let is_test = |module: &[String]| tests.iter().any(|test| module.starts_with(test));
        reading.files.retain(|module| !is_test(module));
        let mut arrows: BTreeMap<_, Place> = BTreeMap::new();
        for (module, path, place) in &reading.paths {
            if is_test(module) {
                continue;
            }
            let (Some(from), Some(to)) = (reading.file_of(module), reading.target(module, path))
            else {
                continue;
            };
            if from != to {
                let first = arrows.entry((from, to)).or_insert_with(|| place.clone());
                *first = first.clone().min(place.clone());
            }
        }
        let modules = reading.files.iter().map(|module| name(module)).collect();
        Self { modules, arrows }
    }

    /// Modules that know each other in a circle, the largest circle first.
    pub(super) fn circles(&self) -> Vec<Vec<String>> {
        let known_from = |from: &String| {
            let (mut known, mut left) = (BTreeSet::new(), vec![from.clone()]);
            while let Some(module) = left.pop() {
                let next = self.arrows.keys().filter(|(from, _)| *from == module);
                left.extend(
                    next.map(|(_, to)| to.clone())
                        .filter(|to| known.insert(to.clone())),
                );
            }
            known
        };
        let known: BTreeMap<_, _> = self.modules.iter().map(|m| (m, known_from(m))).collect();
        let mut circles: Vec<Vec<String>> = Vec::new();
        for (module, all) in known.iter().filter(|(module, all)| all.contains(**module)) {
            if circles.iter().all(|circle| !circle.contains(*module)) {
                let back = all.iter().filter(|other| known[other].contains(*module));
                circles.push(back.cloned().collect());
            }
        }
        circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
        circles
    }
}

fn name(module: &[String]) -> String {
    match module {
        [] => ROOT.into(),
        module => module.join("::"),
    }
}

#[derive(Default)]
struct Reading {
    /// Modules with files of their own.
    files: BTreeSet<Vec<String>>,
    /// Modules that only tests have.
    tests: Vec<Vec<String>>,
    /// Names that `use` brings into a module, and the path of each as it is written.
    names: HashMap<(Vec<String>, String), Vec<String>>,
    /// Every path, and the module that it stands in.
    paths: Vec<(Vec<String>, Vec<String>, Place)>,
}

impl Reading {
    fn scan(&mut self, file: &str, module: Vec<String>, tokens: TokenStream) {
        let trees: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < trees.len() {
            if is_test_attribute(&trees[at..]) {
                let end = item_end(&trees[at..]);
                self.note_test(&module, &trees[at..at + end]);
                at += end;
                continue;
            }
            match &trees[at] {
                TokenTree::Group(group) => {
                    let called = at.checked_sub(2).map(|at| trees[at].to_string());
                    if called.is_some_and(|called| called == MODULES_MACRO) {
                        for name in listed_modules(&group.stream()) {
                            let line = name.span().start().line;
                            self.add(file, line, &module, vec!["self".into(), name.to_string()]);
                        }
                    }
                    self.scan(file, module.clone(), group.stream());
                }
                TokenTree::Ident(ident) if ident == "pub" && is_group(trees.get(at + 1)) => at += 1,
                TokenTree::Ident(ident) if ident == "mod" => {
                    if let (Some(TokenTree::Ident(name)), Some(TokenTree::Group(body))) =
                        (trees.get(at + 1), trees.get(at + 2))
                    {
                        let inner = [&module[..], &[name.to_string()]].concat();
                        self.scan(file, inner, body.stream());
                        at += 2;
                    }
                }
                TokenTree::Ident(ident) if ident == "use" => {
                    let item = &trees[at..at + item_end(&trees[at..])];
                    if let Ok(item) = syn::parse2::<syn::ItemUse>(item.iter().cloned().collect()) {
                        let line = ident.span().start().line;
                        self.add_use(file, line, &module, Vec::new(), &item.tree);
                        at += item_end(&trees[at..]) - 1;
                    }
                }
                TokenTree::Ident(ident) => {
                    let (path, length) = path_at(&trees[at..]);
                    if path.len() > 1 {
                        let line = ident.span().start().line;
                        self.add(file, line, &module, path);
                        at += length - 1;
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }

    fn note_test(&mut self, module: &[String], item: &[TokenTree]) {
        let after_mod = item.windows(2).find_map(|pair| match pair {
            [TokenTree::Ident(word), TokenTree::Ident(name)] if word == "mod" => Some(name),
            _ => None,
        });
        if let Some(name) = after_mod {
            self.tests.push([module, &[name.to_string()]].concat());
        }
    }

    fn add(&mut self, file: &str, line: usize, module: &[String], path: Vec<String>) {
        let place = Place {
            path: file.into(),
            line,
        };
        self.paths.push((module.to_vec(), path, place));
    }

    fn add_use(
        &mut self,
        file: &str,
        line: usize,
        module: &[String],
        mut before: Vec<String>,
        tree: &UseTree,
    ) {
        let (last, known_as) = match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                return self.add_use(file, line, module, before, &path.tree);
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_use(file, line, module, before.clone(), tree);
                }
                return;
            }
            UseTree::Name(name) => (name.ident.to_string(), name.ident.to_string()),
            UseTree::Rename(rename) => (rename.ident.to_string(), rename.rename.to_string()),
            UseTree::Glob(_) => ("*".into(), "*".into()),
        };
        match last.as_str() {
            "self" | "*" => {}
            _ => before.push(last),
        }
        let known_as = match (known_as.as_str(), before.last()) {
            ("self", Some(last)) => last.clone(),
            _ => known_as,
        };
        self.names
            .insert((module.to_vec(), known_as), before.clone());
        self.add(file, line, module, before);
    }

    /// The file that a module stands in.
    fn file_of(&self, module: &[String]) -> Option<String> {
        let mut prefixes = (0..=module.len()).rev().map(|length| &module[..length]);
        prefixes
            .find(|prefix| self.files.contains(*prefix))
            .map(name)
    }

    /// The file that a path in `module` leads to; none if it leads out of the crate.
    fn target(&self, module: &[String], path: &[String]) -> Option<String> {
        let mut at = module.to_vec();
        let mut path = path.to_vec();
        for _ in 0..RENAMED_MAX {
            let mut words = path.iter().peekable();
            match words.peek().map(|word| word.as_str())? {
                "crate" => at.clear(),
                "self" | "super" => {}
                first if self.is_module(&at, first) => {}
                first if self.names.contains_key(&(at.clone(), first.into())) => {}
                _ => return None,
            }
            while let Some(word) = words.next_if(|word| is_keyword(word)) {
                if word == "super" {
                    at.pop();
                }
            }
            while let Some(word) = words.next_if(|word| self.is_module(&at, word)) {
                at.push(word.clone());
            }
            let Some(word) = words.next() else { break };
            // A name that this module has from somewhere else, or an item of its own.
            let Some(source) = self.names.get(&(at.clone(), word.clone())) else {
                break;
            };
            if source.first().is_none_or(|first| *first == *word) && source.len() < 2 {
                return None;
            }
            path = source.iter().chain(words).cloned().collect();
        }
        self.file_of(&at)
    }

    fn is_module(&self, parent: &[String], word: &str) -> bool {
        let child = [parent, &[word.to_owned()]].concat();
        self.files.contains(&child)
    }
}

fn is_keyword(word: &str) -> bool {
    matches!(word, "crate" | "self" | "super")
}

fn is_group(tree: Option<&TokenTree>) -> bool {
    matches!(tree, Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis)
}

fn is_punct(tree: Option<&TokenTree>, sign: char) -> bool {
    matches!(tree, Some(TokenTree::Punct(punct)) if punct.as_char() == sign)
}

/// Whether `#[cfg(test)]` stands here, or that with what a fuzz target needs too.
pub(super) fn is_test_attribute(trees: &[TokenTree]) -> bool {
    let [hash, TokenTree::Group(attribute), ..] = trees else {
        return false;
    };
    let attribute = attribute.stream().to_string().replace(' ', "");
    let is_test = ["cfg(test)", "cfg(any(test,fuzzing))"].contains(&attribute.as_str());
    is_punct(Some(hash), '#') && is_test
}

/// Trees of the item that begins here with its attributes: up to its body or semicolon.
pub(super) fn item_end(trees: &[TokenTree]) -> usize {
    let is_end = |tree: &TokenTree| match tree {
        TokenTree::Punct(punct) => punct.as_char() == ';',
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        _ => false,
    };
    let is_use = |tree: &TokenTree| matches!(tree, TokenTree::Ident(word) if word == "use");
    // The braces of a `use` are not a body.
    let end = match trees.iter().position(is_use) {
        Some(word) if trees[..word].iter().all(|tree| !is_end(tree)) => {
            trees.iter().position(|tree| is_punct(Some(tree), ';'))
        }
        _ => trees.iter().position(is_end),
    };
    end.map_or(trees.len(), |end| end + 1)
}

/// The path that begins here, `a::b::c`, and the number of its trees.
fn path_at(trees: &[TokenTree]) -> (Vec<String>, usize) {
    let (mut path, mut at) = (Vec::new(), 0);
    while let Some(TokenTree::Ident(ident)) = trees.get(at) {
        path.push(ident.to_string());
        if !is_punct(trees.get(at + 1), ':') || !is_punct(trees.get(at + 2), ':') {
            break;
        }
        at += 3;
    }
    (path, at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrows(files: &[(&str, &str)]) -> Vec<(String, String)> {
        let imports = Imports::of(&Tree::of(files), "c/src/");
        imports.arrows.into_keys().collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(from, to): &(&str, &str)| ((*from).into(), (*to).into());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn all_ways_to_name_another_file_are_seen() {
        let files = [
            (
                "c/src/lib.rs",
                "mod a; mod b; mod e; mod f; pub use a::x::X;",
            ),
            ("c/src/a/mod.rs", "mod x; use super::b::{self, B};"),
            (
                "c/src/a/x.rs",
                "pub struct X; fn f() { m! { crate::e::E } }",
            ),
            (
                "c/src/b.rs",
                "use crate::X; fn f() -> std::io::Error { loop {} }",
            ),
            (
                "c/src/e.rs",
                "mod inner { use super::super::f; fn g() { f::go() } }",
            ),
            ("c/src/f.rs", "pub(in crate::a) fn go() {}"),
        ];
        let expected = [
            ("a", "b"),
            ("a::x", "e"),
            ("b", "a::x"),
            ("e", "f"),
            ("lib", "a::x"),
        ];
        assert_eq!(arrows(&files), pairs(&expected));
    }

    #[test]
    fn a_list_of_modules_knows_them() {
        let files = [
            ("c/src/lib.rs", "modules! { a { a: A } b {} }"),
            ("c/src/a.rs", ""),
            ("c/src/b/mod.rs", ""),
        ];
        assert_eq!(arrows(&files), pairs(&[("lib", "a"), ("lib", "b")]));
    }

    #[test]
    fn what_only_tests_know_does_not_count() {
        let files = [
            ("c/src/lib.rs", "mod a; mod b;"),
            (
                "c/src/a.rs",
                "#[cfg(test)] use crate::b::{B}; #[cfg(test)] mod tests; #[cfg(test)] mod t { \
                 use crate::b; } use crate::C;",
            ),
            ("c/src/a/tests.rs", "use crate::b::B;"),
            ("c/src/b.rs", ""),
        ];
        assert_eq!(arrows(&files), pairs(&[("a", "lib")]));
    }

    #[test]
    fn circles_are_found_the_largest_first() {
        let files = [
            ("c/src/a.rs", "use crate::b::B;"),
            ("c/src/b.rs", "use crate::d::D;"),
            ("c/src/d.rs", "use crate::a::A; use crate::e::E;"),
            ("c/src/e.rs", "use crate::f::F;"),
            ("c/src/f.rs", "use crate::e::E;"),
            ("c/src/g.rs", "use crate::a::A;"),
        ];
        let imports = Imports::of(&Tree::of(&files), "c/src/");
        assert_eq!(imports.circles(), [vec!["a", "b", "d"], vec!["e", "f"]]);
    }
}
