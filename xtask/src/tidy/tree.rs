//! Every Rust file and every manifest of the checkout, read once.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use proc_macro2::{Ident, Punct, TokenStream, TokenTree};

use super::finding::Finding;

/// Folders that hold no sources of ours: build output and what other programs keep.
const SKIPPED: [&str; 2] = ["target", "node_modules"];

/// One Rust file, parsed where it can be.
pub(super) struct SourceFile {
    /// From the root of the checkout, with `/` between the parts.
    pub(super) path: String,
    pub(super) text: String,
    pub(super) syntax: Result<syn::File, (usize, String)>,
    pub(super) tokens: TokenStream,
}

impl SourceFile {
    /// Parses one file. A file that is not Rust is kept, with the place of the error.
    pub(super) fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let syntax =
            syn::parse_file(&text).map_err(|error| (error.span().start().line, error.to_string()));
        let tokens = TokenStream::from_str(&text).unwrap_or_default();
        Self {
            path: path.into(),
            text,
            syntax,
            tokens,
        }
    }

    /// Lines that hold the identifier `name`, in code: comments and strings do not count.
    pub(super) fn lines_with_ident(&self, name: &str) -> Vec<usize> {
        let mut lines = Vec::new();
        each_ident(&self.tokens, &mut |ident, _| {
            if ident == name {
                lines.push(ident.span().start().line);
            }
        });
        lines
    }

    /// Lines that call the macro `name`.
    pub(super) fn lines_with_macro(&self, name: &str) -> Vec<usize> {
        let mut lines = Vec::new();
        each_ident(&self.tokens, &mut |ident, next| {
            if ident == name && next.is_some_and(|punct| punct.as_char() == '!') {
                lines.push(ident.span().start().line);
            }
        });
        lines
    }
}

/// The macro that declares the modules that it lists: `modules! { core {} index { … } }`.
pub(super) const MODULES_MACRO: &str = "modules";

/// The modules that the inside of such a macro declares.
pub(super) fn listed_modules(tokens: &TokenStream) -> Vec<Ident> {
    let trees: Vec<TokenTree> = tokens.clone().into_iter().collect();
    let listed = trees.windows(2).filter_map(|pair| match pair {
        [TokenTree::Ident(name), TokenTree::Group(_)] => Some(name.clone()),
        _ => None,
    });
    listed.collect()
}

/// Calls `visit` with each identifier and the punctuation that follows it, macros' insides
/// included.
fn each_ident(tokens: &TokenStream, visit: &mut impl FnMut(&Ident, Option<&Punct>)) {
    let trees: Vec<TokenTree> = tokens.clone().into_iter().collect();
    for (at, tree) in trees.iter().enumerate() {
        match tree {
            TokenTree::Ident(ident) => match trees.get(at + 1) {
                Some(TokenTree::Punct(punct)) => visit(ident, Some(punct)),
                _ => visit(ident, None),
            },
            TokenTree::Group(group) => each_ident(&group.stream(), visit),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// The checkout.
#[derive(Default)]
pub(super) struct Tree {
    pub(super) files: Vec<SourceFile>,
    manifests: Vec<PathBuf>,
}

impl Tree {
    /// Reads everything under `root` but hidden folders and build output.
    pub(super) fn load(root: &Path) -> Result<Self, String> {
        let mut tree = Self::default();
        tree.walk(root, root)?;
        tree.files.sort_by(|a, b| a.path.cmp(&b.path));
        tree.manifests.sort();
        Ok(tree)
    }

    /// A tree of files given by path and text, for tests of the rules.
    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let files = files
            .iter()
            .map(|(path, text)| SourceFile::new(*path, *text))
            .collect();
        Self {
            files,
            manifests: Vec::new(),
        }
    }

    pub(super) fn manifests(&self) -> &[PathBuf] {
        &self.manifests
    }

    pub(super) fn file(&self, path: &str) -> Option<&SourceFile> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Files that do not parse: the other rules cannot see into them.
    pub(super) fn unreadable(&self) -> Vec<Finding> {
        let finding = |file: &SourceFile| {
            let (line, message) = file.syntax.as_ref().err()?;
            let problem = format!("this is not Rust: {message}");
            Some(Finding::new(
                &file.path,
                *line,
                problem,
                "correct the syntax",
            ))
        };
        self.files.iter().filter_map(finding).collect()
    }

    fn walk(&mut self, root: &Path, folder: &Path) -> Result<(), String> {
        let say = |error: std::io::Error| format!("{}: {error}", folder.display());
        for entry in fs::read_dir(folder).map_err(say)? {
            let entry = entry.map_err(say)?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let path = entry.path();
            let kind = entry.file_type().map_err(say)?;
            if kind.is_dir() {
                if !name.starts_with('.') && !SKIPPED.contains(&name.as_ref()) {
                    self.walk(root, &path)?;
                }
            } else if name == "Cargo.toml" {
                self.manifests.push(path);
            } else if name.ends_with(".rs") {
                let text = fs::read_to_string(&path)
                    .map_err(|error| format!("{}: {error}", path.display()))?;
                self.files
                    .push(SourceFile::new(relative(root, &path), text));
            }
        }
        Ok(())
    }
}

/// `path` from `root`, with `/` between the parts and `..` resolved.
pub(super) fn relative(root: &Path, path: &Path) -> String {
    let inside = path.strip_prefix(root).unwrap_or(path);
    let mut parts = Vec::new();
    for part in inside.components() {
        if part == std::path::Component::ParentDir {
            parts.pop();
        } else {
            parts.push(part.as_os_str().to_string_lossy());
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_found_in_code_alone() {
        let text = "// unsafe\nfn f() { println!(\"unsafe\"); m! { unsafe { g() } } }\n";
        let file = SourceFile::new("a.rs", text);
        assert_eq!(file.lines_with_ident("unsafe"), [2]);
        assert_eq!(file.lines_with_macro("println"), [2]);
        assert!(file.lines_with_macro("f").is_empty());
    }

    #[test]
    fn a_file_that_is_not_rust_is_named_with_its_line() {
        let tree = Tree::of(&[("a.rs", "fn f() {}\nfn (\n")]);
        let findings = tree.unreadable();
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].path, "a.rs");
        assert_eq!(findings[0].line, 2);
    }

    #[test]
    fn relative_paths_use_slashes() {
        assert_eq!(relative(Path::new("/r"), Path::new("/r/a/b.rs")), "a/b.rs");
        assert_eq!(
            relative(Path::new("/r"), Path::new("/r/c/d/../../t/m.rs")),
            "t/m.rs"
        );
    }
}
