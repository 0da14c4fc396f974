//! Files and functions stay short enough to be read in one sitting.

use syn::visit::{self, Visit};

use super::Finding;
use super::allowances::{Allowance, Allowances, Subject};
use super::tree::{SourceFile, Tree};

/// Lines of a file, at most.
const FILE_LINES_MAX: usize = 800;
/// Lines of a function, at most, from its `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;

/// The measured length of one file or function.
pub(super) struct Length {
    pub(super) subject: Subject,
    /// Where it begins.
    pub(super) line: usize,
    pub(super) lines: usize,
}

impl Length {
    /// The limit that holds for it when nothing is excepted.
    pub(super) fn lines_max(&self) -> usize {
        match self.subject {
            Subject::File { .. } => FILE_LINES_MAX,
            Subject::Function { .. } => FUNCTION_LINES_MAX,
        }
    }
}

/// The length of every file and function.
pub(super) fn measure(tree: &Tree) -> Vec<Length> {
    tree.files.iter().flat_map(lengths_of).collect()
}

/// What is longer than its limit, or than its allowance; and allowances that can be lowered.
pub(super) fn check(tree: &Tree, allowances: &Allowances) -> Vec<Finding> {
    let present = measure(tree);
    let mut findings = Vec::new();
    for length in &present {
        let listed = allowances.lengths.get(&length.subject);
        let allowed = listed.map_or(length.lines_max(), |allowance| allowance.lines);
        if length.lines > allowed {
            findings.push(too_long(length, allowed, listed.is_some()));
        }
    }
    for (subject, allowance) in &allowances.lengths {
        let longest = present
            .iter()
            .filter(|length| length.subject == *subject)
            .max_by_key(|l| l.lines);
        findings.extend(slack(allowances, allowance, subject, longest));
    }
    findings
}

fn too_long(length: &Length, allowed: usize, listed: bool) -> Finding {
    let because = if listed {
        "its allowance is"
    } else {
        "at most"
    };
    match &length.subject {
        Subject::File { path } => Finding::new(
            path,
            length.line,
            format!("the file has {} lines, {because} {allowed}", length.lines),
            "move one concern into a file of its own",
        ),
        Subject::Function { path, name } => Finding::new(
            path,
            length.line,
            format!(
                "the function `{name}` has {} lines, {because} {allowed}",
                length.lines
            ),
            "keep the branching in one parent and move the leaves into functions of their own",
        ),
    }
}

/// An allowance larger than what it allows for would let the code grow again unseen.
fn slack(
    allowances: &Allowances,
    allowance: &Allowance,
    subject: &Subject,
    longest: Option<&Length>,
) -> Option<Finding> {
    let name = match subject {
        Subject::File { path } => path.clone(),
        Subject::Function { path, name } => format!("`{name}` in {path}"),
    };
    let problem = match longest {
        None => format!("the allowance for {name} is for nothing: it does not exist"),
        Some(length) if length.lines <= length.lines_max() => {
            format!(
                "the allowance for {name} is needed no more: it has {} lines",
                length.lines
            )
        }
        Some(length) if length.lines < allowance.lines => {
            format!(
                "{name} has shrunk to {} lines, its allowance has not",
                length.lines
            )
        }
        Some(_) => return None,
    };
    let remedy = "run `cargo xtask tidy --write`, which lowers the list, and commit it";
    Some(Finding::new(
        &allowances.list_path,
        allowance.listed_at,
        problem,
        remedy,
    ))
}

fn lengths_of(file: &SourceFile) -> Vec<Length> {
    let subject = Subject::File {
        path: file.path.clone(),
    };
    let mut lengths = vec![Length {
        subject,
        line: 1,
        lines: file.text.lines().count(),
    }];
    if let Ok(syntax) = &file.syntax {
        let mut functions = Functions {
            path: &file.path,
            lengths: &mut lengths,
        };
        functions.visit_file(syntax);
    }
    lengths
}

struct Functions<'a> {
    path: &'a str,
    lengths: &'a mut Vec<Length>,
}

impl Functions<'_> {
    fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let line = signature.fn_token.span.start().line;
        let lines = block.brace_token.span.close().end().line + 1 - line;
        let subject = Subject::Function {
            path: self.path.into(),
            name: signature.ident.to_string(),
        };
        self.lengths.push(Length {
            subject,
            line,
            lines,
        });
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.add(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str, body_lines: usize) -> String {
        format!("fn {name}() {{\n{}}}\n", "    x();\n".repeat(body_lines))
    }

    fn findings(text: &str, list: &str) -> Vec<Finding> {
        let tree = Tree::of(&[("a.rs", text)]);
        let (allowances, unreadable) = Allowances::parse("list", list);
        assert!(unreadable.is_empty());
        check(&tree, &allowances)
    }

    #[test]
    fn a_function_at_the_limit_passes_and_one_past_it_does_not() {
        assert!(findings(&function("f", FUNCTION_LINES_MAX - 2), "").is_empty());
        let found = findings(&format!("\n{}", function("f", FUNCTION_LINES_MAX - 1)), "");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 2);
        assert!(
            found[0].problem.contains("`f` has 71 lines"),
            "{}",
            found[0].problem
        );
    }

    #[test]
    fn methods_and_default_methods_count() {
        let method = function("m", 80);
        assert_eq!(findings(&format!("impl X {{\n{method}}}\n"), "").len(), 1);
        assert_eq!(findings(&format!("trait X {{\n{method}}}\n"), "").len(), 1);
    }

    #[test]
    fn a_file_at_the_limit_passes_and_one_past_it_does_not() {
        assert!(findings(&"// x\n".repeat(FILE_LINES_MAX), "").is_empty());
        assert_eq!(findings(&"// x\n".repeat(FILE_LINES_MAX + 1), "").len(), 1);
    }

    #[test]
    fn an_allowance_holds_at_the_present_size_alone() {
        let text = function("f", 78);
        assert!(findings(&text, "fn a.rs f 80").is_empty());
        let grown = findings(&text, "fn a.rs f 79");
        assert_eq!((grown.len(), grown[0].path.as_str()), (1, "a.rs"));
        let shrunk = findings(&text, "fn a.rs f 81");
        assert_eq!((shrunk.len(), shrunk[0].path.as_str()), (1, "list"));
    }

    #[test]
    fn an_allowance_for_nothing_is_a_finding() {
        assert_eq!(findings("", "file b.rs 900").len(), 1);
        assert_eq!(findings(&function("f", 3), "fn a.rs f 75").len(), 1);
    }
}
