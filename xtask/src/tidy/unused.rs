//! Nothing is declared that nobody uses: a setting or field that no code reads, a public item of
//! the server that no other crate names.
//!
//! Both go by names alone, without types. So a field counts as read if any field of its name is, and
//! an item as used if any item of its name is: what is found here is unused, but not all that is
//! unused is found. Reading is `.name` in code outside of tests, but not where it is assigned to, and
//! a pattern. rustc looks closer, at what is not public: that is why little should be.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use syn::visit::{self, Visit};

use super::allowances::Figure;
use super::finding::Finding;
use super::imports::{Place, is_test_attribute, item_end};
use super::tree::{SourceFile, Tree};

/// Crates whose fields are to be read.
const FIELDS_OF: [&str; 2] = ["crates/server", "crates/revolve"];
/// Crates whose public items are there for other crates of ours alone; and who is built on them.
const ITEMS_OF: [&str; 2] = ["crates/server", "crates/revolve"];
const USERS: [&str; 4] = ["crates/server/", "crates/revolve/", "tests/", "fuzz/"];
/// The macro that makes settings, and its groups of fields.
const DECLARES: (&str, [&str; 3]) = ("settings", ["inherit", "own", "handler"]);
/// A macro that only assigns to fields, and a function that does so to its first argument.
const ASSIGNS: (&str, &str) = ("slot", "set_once");

/// Words between `pub` and what an item is; what it may be.
const QUALIFIERS: [&str; 4] = ["const", "async", "unsafe", "extern"];
const ITEMS: [&str; 8] = [
    "fn", "struct", "enum", "const", "static", "trait", "type", "mod",
];

/// Every unused field and item, each a figure of 1.
pub(super) fn measure(tree: &Tree) -> Vec<Figure> {
    let mut read = BTreeSet::new();
    for file in tree.files.iter().filter(|file| is_code(&file.path)) {
        reads(&code(&file.tokens), &mut read);
        if let Ok(syntax) = &file.syntax {
            Patterns(&mut read).visit_file(syntax);
        }
    }
    let mut figures = Vec::new();
    for folder in FIELDS_OF {
        let mut declared = BTreeMap::new();
        for file in files_of(tree, folder) {
            if let Ok(syntax) = &file.syntax {
                let (path, declared) = (&*file.path, &mut declared);
                Fields { path, declared }.visit_file(syntax);
            }
        }
        for (name, place) in declared {
            let field = name.rsplit('.').next().unwrap_or_default();
            if !read.contains(field) && !field.starts_with('_') {
                let remedy = "use it, or remove it: what is accepted has an effect, or says that it has none";
                figures.push(figure(
                    "unread",
                    folder,
                    &name,
                    "nobody reads",
                    remedy,
                    place,
                ));
            }
        }
    }
    for folder in ITEMS_OF {
        let remedy = "make it `pub(crate)`, or private";
        for (name, place) in unused_items(tree, folder) {
            figures.push(figure(
                "pub",
                folder,
                &name,
                "no other crate names",
                remedy,
                place,
            ));
        }
    }
    figures
}

fn figure(
    kind: &str,
    folder: &str,
    name: &str,
    problem: &str,
    remedy: &str,
    place: Place,
) -> Figure {
    Figure {
        subject: format!("{kind} {folder} {name}"),
        count: 1,
        count_max: 0,
        finding: Finding::new(
            place.path,
            place.line,
            format!("{problem} `{name}`"),
            remedy,
        ),
    }
}

/// Whether a file is code that runs outside of tests.
fn is_code(path: &str) -> bool {
    let is_test = path.ends_with("/tests.rs") || path.contains("/tests/");
    path.starts_with("crates/") && path.contains("/src/") && !is_test
}

fn files_of<'a>(tree: &'a Tree, folder: &str) -> impl Iterator<Item = &'a SourceFile> {
    let source = format!("{folder}/src/");
    let is_of = move |file: &&SourceFile| file.path.starts_with(&source) && is_code(&file.path);
    tree.files.iter().filter(is_of)
}

/// What is not `#[cfg(test)]`.
fn code(tokens: &TokenStream) -> Vec<TokenTree> {
    let trees: Vec<TokenTree> = tokens.clone().into_iter().collect();
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < trees.len() {
        if is_test_attribute(&trees[at..]) {
            at += item_end(&trees[at..]);
        } else {
            kept.push(trees[at].clone());
            at += 1;
        }
    }
    kept
}

fn sign(tree: Option<&TokenTree>) -> Option<char> {
    match tree {
        Some(TokenTree::Punct(punct)) => Some(punct.as_char()),
        _ => None,
    }
}

fn word(tree: Option<&TokenTree>) -> Option<String> {
    match tree {
        Some(TokenTree::Ident(ident)) => Some(ident.to_string()),
        _ => None,
    }
}

/// Names of the fields that are read.
fn reads(trees: &[TokenTree], read: &mut BTreeSet<String>) {
    for (at, tree) in trees.iter().enumerate() {
        let next = trees.get(at + 1);
        match tree {
            TokenTree::Group(group) => {
                let inside = code(&group.stream());
                let before = |back: usize| at.checked_sub(back).and_then(|at| word(trees.get(at)));
                let is_slot = before(2).as_deref() == Some(ASSIGNS.0)
                    && sign(trees.get(at.saturating_sub(1))) == Some('!');
                let is_set_once = before(1).as_deref() == Some(ASSIGNS.1);
                let is_comma = |tree: &TokenTree| sign(Some(tree)) == Some(',');
                match inside.iter().position(is_comma) {
                    _ if is_slot => {}
                    Some(comma) if is_set_once => reads(&inside[comma..], read),
                    _ => reads(&inside, read),
                }
                // A pattern within a macro, which is not parsed: it ends with `..`.
                let rest = inside.len().checked_sub(2).map(|end| &inside[end..]);
                if rest.is_some_and(|rest| rest.iter().all(|tree| sign(Some(tree)) == Some('.'))) {
                    let parts = inside.split(is_comma);
                    let is_bound = |part: &&[TokenTree]| word(part.get(2)).as_deref() != Some("_");
                    read.extend(parts.filter(is_bound).filter_map(|part| word(part.first())));
                }
            }
            TokenTree::Ident(ident) => {
                let is_field = at > 0
                    && sign(trees.get(at - 1)) == Some('.')
                    && !(at > 1 && sign(trees.get(at - 2)) == Some('.'));
                let is_call = matches!(next, Some(TokenTree::Group(group))
                    if group.delimiter() == Delimiter::Parenthesis);
                if is_field && !is_call && !is_assigned(&trees[at + 1..]) {
                    read.insert(ident.to_string());
                }
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// Whether what begins here assigns: `=`, or `+=` and its like.
fn is_assigned(trees: &[TokenTree]) -> bool {
    let joint = |tree: &TokenTree| matches!(tree, TokenTree::Punct(punct) if punct.spacing() == Spacing::Joint);
    match trees {
        [first, ..] if sign(Some(first)) == Some('=') => !joint(first),
        [first, second, ..] => {
            matches!(
                sign(Some(first)),
                Some('+' | '-' | '*' | '/' | '|' | '&' | '^')
            ) && joint(first)
                && sign(Some(second)) == Some('=')
        }
        _ => false,
    }
}

/// Names of the fields that patterns bind.
struct Patterns<'a>(&'a mut BTreeSet<String>);

impl<'ast> Visit<'ast> for Patterns<'_> {
    fn visit_pat_struct(&mut self, pattern: &'ast syn::PatStruct) {
        for field in &pattern.fields {
            if let (syn::Member::Named(name), false) =
                (&field.member, matches!(*field.pat, syn::Pat::Wild(_)))
            {
                self.0.insert(name.to_string());
            }
        }
        visit::visit_pat_struct(self, pattern);
    }
}

/// The fields of structs, and of the macro that makes settings: `Struct.field`.
struct Fields<'a> {
    path: &'a str,
    declared: &'a mut BTreeMap<String, Place>,
}

impl Fields<'_> {
    fn add(&mut self, owner: &str, field: &syn::Ident) {
        let place = Place {
            path: self.path.into(),
            line: field.span().start().line,
        };
        self.declared.insert(format!("{owner}.{field}"), place);
    }
}

impl<'ast> Visit<'ast> for Fields<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let is_test = |attribute: &syn::Attribute| attribute.path().is_ident("cfg");
        if !module.attrs.iter().any(is_test) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        // What is derived and reads no more than rustc counts as reading.
        let reads_none = ["Debug", "Clone", "Copy", "Default"];
        let mut derived = BTreeSet::new();
        for attribute in item
            .attrs
            .iter()
            .filter(|one| one.path().is_ident("derive"))
        {
            if let syn::Meta::List(list) = &attribute.meta {
                words(&list.tokens, &mut derived);
            }
        }
        if derived
            .iter()
            .any(|one| !reads_none.contains(&one.as_str()))
        {
            return;
        }
        for field in &item.fields {
            if let Some(name) = &field.ident {
                self.add(&item.ident.to_string(), name);
            }
        }
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        if !called.path.is_ident(DECLARES.0) {
            return;
        }
        let trees: Vec<TokenTree> = called.tokens.clone().into_iter().collect();
        let at = trees
            .iter()
            .position(|tree| word(Some(tree)).as_deref() == Some("struct"));
        let owner = at
            .and_then(|at| word(trees.get(at + 1)))
            .unwrap_or_default();
        let Some(TokenTree::Group(body)) = trees.last() else {
            return;
        };
        let parts: Vec<TokenTree> = body.stream().into_iter().collect();
        for part in parts.windows(2) {
            let [TokenTree::Ident(name), TokenTree::Group(group)] = part else {
                continue;
            };
            if DECLARES.1.iter().any(|one| name == one) {
                let inside: Vec<TokenTree> = group.stream().into_iter().collect();
                for (at, tree) in inside.iter().enumerate() {
                    // One colon, not two.
                    let is_named = sign(inside.get(at + 1)) == Some(':')
                        && sign(inside.get(at + 2)) != Some(':')
                        && (at == 0 || sign(inside.get(at - 1)) != Some(':'));
                    if let (TokenTree::Ident(name), true) = (tree, is_named) {
                        self.add(&owner, name);
                    }
                }
            }
        }
    }
}

/// One public item.
struct Item {
    name: String,
    place: Place,
    /// What else is public because it is: the names in its signature.
    shows: BTreeSet<String>,
}

/// The public items of a crate that neither another crate names, nor an item that one names.
fn unused_items(tree: &Tree, folder: &str) -> BTreeMap<String, Place> {
    let (mut items, mut used) = (Vec::new(), BTreeSet::new());
    let source = format!("{folder}/src/");
    for file in &tree.files {
        if !file.path.starts_with(&source) {
            if USERS.iter().any(|user| file.path.starts_with(user)) {
                words(&file.tokens, &mut used);
            }
        } else if is_code(&file.path) {
            public_items(&file.path, &code(&file.tokens), &mut items);
        }
    }
    loop {
        let (shown, rest): (Vec<Item>, Vec<Item>) = items
            .into_iter()
            .partition(|item| used.contains(&item.name));
        items = rest;
        if shown.is_empty() {
            break;
        }
        used.extend(shown.into_iter().flat_map(|item| item.shows));
    }
    items
        .into_iter()
        .map(|item| (item.name, item.place))
        .collect()
}

fn words(tokens: &TokenStream, found: &mut BTreeSet<String>) {
    for tree in tokens.clone() {
        match tree {
            TokenTree::Ident(ident) => _ = found.insert(ident.to_string()),
            TokenTree::Group(group) => words(&group.stream(), found),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

fn public_items(path: &str, trees: &[TokenTree], items: &mut Vec<Item>) {
    for (at, tree) in trees.iter().enumerate() {
        if let TokenTree::Group(group) = tree {
            // What `settings!` declares is the crate's own, although it is written as public.
            let called = at.checked_sub(2).and_then(|before| word(trees.get(before)));
            if called.as_deref() != Some("settings") || sign(trees.get(at - 1)) != Some('!') {
                public_items(path, &code(&group.stream()), items);
            }
        }
        if word(Some(tree)).as_deref() != Some("pub") {
            continue;
        }
        let rest = &trees[at + 1..];
        let kind = rest.iter().position(|tree| {
            let word = word(Some(tree));
            word.is_none_or(|word| !QUALIFIERS.contains(&&*word)) || is_item_const(rest)
        });
        let Some(kind) = kind else { continue };
        let (Some(what), Some(name)) = (word(rest.get(kind)), word(rest.get(kind + 1))) else {
            continue;
        };
        if ITEMS.contains(&&*what) {
            let item = &rest[kind + 2..];
            let place = Place {
                path: path.into(),
                line: tree.span().start().line,
            };
            let shows = shows(&what, &item[..item_end(item)]);
            items.push(Item { name, place, shows });
        }
    }
}

/// Whether `const NAME:` stands here, and not `const fn`.
fn is_item_const(trees: &[TokenTree]) -> bool {
    word(trees.first()).as_deref() == Some("const") && sign(trees.get(2)) == Some(':')
}

/// The names that an item's users can see: not the body of a function, nor private fields.
fn shows(what: &str, item: &[TokenTree]) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for tree in item {
        match tree {
            TokenTree::Group(group)
                if group.delimiter() == Delimiter::Brace || what == "struct" =>
            {
                let inside: Vec<TokenTree> = group.stream().into_iter().collect();
                match what {
                    "struct" => {
                        let fields = inside.split(|tree| sign(Some(tree)) == Some(','));
                        let is_pub = |tree: &TokenTree| word(Some(tree)).as_deref() == Some("pub");
                        let public = fields.filter(|field| field.iter().any(is_pub));
                        public.for_each(|field| words(&field.iter().cloned().collect(), &mut seen));
                    }
                    "enum" | "trait" => words(&group.stream(), &mut seen),
                    _ => {}
                }
            }
            tree => words(&tree.clone().into(), &mut seen),
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let figures = measure(&Tree::of(files));
        figures.into_iter().map(|figure| figure.subject).collect()
    }

    #[test]
    fn what_a_derived_comparison_reads_is_read() {
        let text = "#[derive(Debug, PartialEq)] struct S { a: u8 } #[derive(Debug, Clone)] struct T { b: u8 }";
        let files = [("crates/server/src/a.rs", text)];
        assert_eq!(found(&files), ["unread crates/server T.b"]);
    }

    #[test]
    fn a_field_that_is_only_written_is_found() {
        let text = "struct S { read: u8, bound: u8, seen: u8, set: u8, counted: u8 }
            fn f(s: &mut S) -> bool {
                s.set = 1;
                s.counted += s.read;
                s.set();
                let S { bound, set: _, .. } = s;
                matches!(s, S { seen, .. })
            }
            #[cfg(test)] mod tests { fn t(s: &S) -> u8 { s.set } }";
        let expected = [
            "unread crates/server S.counted",
            "unread crates/server S.set",
        ];
        assert_eq!(found(&[("crates/server/src/a.rs", text)]), expected);
    }

    #[test]
    fn a_setting_that_is_only_set_is_found() {
        let text = "settings! { /// S.
            pub struct S / RawS { inherit { lost: u8 = 1, /// Used.
                used: std::time::Duration = D } own { own: Option<a::B> = None } } }
            const ROWS: &[Row] = &[Row { set: slot!(flag s.lost) }];
            fn set(s: &mut S) { set_once(&mut s.lost, 1) }
            fn f(s: &S) -> u8 { if s.own == 1 { s.used } else { 2 } }";
        let files = [
            ("crates/server/src/a.rs", text),
            ("crates/revolve/src/b.rs", "fn f() -> S { 1 }"),
        ];
        assert_eq!(found(&files), ["unread crates/server S.lost"]);
    }

    #[test]
    fn a_public_item_that_no_other_crate_names_is_found() {
        let text =
            "#[derive(PartialEq)] pub struct Used { pub a: Shown, b: Hidden } pub struct Shown; pub struct Hidden;
            impl Used { pub const fn used(&self, x: Given) -> u8 { Inner } pub(crate) fn n() {} }
            pub enum Given { A } pub const INNER: u8 = 1; pub mod inner {} pub use inner::X;
            pub async fn late() {}";
        let files = [
            ("crates/server/src/a.rs", text),
            (
                "tests/t.rs",
                "use server::Used; fn f(u: &Used) -> u8 { u.used(u.a) }",
            ),
        ];
        let expected =
            ["Hidden", "INNER", "inner", "late"].map(|name| format!("pub crates/server {name}"));
        assert_eq!(found(&files), expected);
    }
}
