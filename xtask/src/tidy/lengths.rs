//! Files and functions stay short enough to be read in one sitting.

use syn::visit::{self, Visit};

use super::allowances::Figure;
use super::finding::Finding;
use super::tree::{SourceFile, Tree};

/// Lines of a file, at most.
const FILE_LINES_MAX: usize = 800;
/// Lines of a function, at most, from its `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;

/// The length of every file and function.
pub(super) fn measure(tree: &Tree) -> Vec<Figure> {
    tree.files.iter().flat_map(lengths_of).collect()
}

fn lengths_of(file: &SourceFile) -> Vec<Figure> {
    let lines = file.text.lines().count();
    let mut figures = vec![Figure {
        subject: format!("file {}", file.path),
        count: lines,
        count_max: FILE_LINES_MAX,
        finding: Finding::new(
            &file.path,
            1,
            format!("the file has {lines} lines"),
            "move one concern into a file of its own",
        ),
    }];
    if let Ok(syntax) = &file.syntax {
        let mut functions = Functions {
            path: &file.path,
            figures: &mut figures,
        };
        functions.visit_file(syntax);
    }
    figures
}

struct Functions<'a> {
    path: &'a str,
    figures: &'a mut Vec<Figure>,
}

impl Functions<'_> {
    fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let line = signature.fn_token.span.start().line;
        let lines = block.brace_token.span.close().end().line + 1 - line;
        let name = &signature.ident;
        self.figures.push(Figure {
            subject: format!("fn {} {name}", self.path),
            count: lines,
            count_max: FUNCTION_LINES_MAX,
            finding: Finding::new(
                self.path,
                line,
                format!("the function `{name}` has {lines} lines"),
                "keep the branching in one parent and move the leaves into functions of their own",
            ),
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

    fn findings(text: &str) -> Vec<Finding> {
        let figures = measure(&Tree::of(&[("a.rs", text)]));
        let long = figures.into_iter().filter(|one| one.count > one.count_max);
        long.map(|one| one.finding).collect()
    }

    #[test]
    fn a_function_at_the_limit_passes_and_one_past_it_does_not() {
        assert!(findings(&function("f", FUNCTION_LINES_MAX - 2)).is_empty());
        let found = findings(&format!("\n{}", function("f", FUNCTION_LINES_MAX - 1)));
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
        assert_eq!(findings(&format!("impl X {{\n{method}}}\n")).len(), 1);
        assert_eq!(findings(&format!("trait X {{\n{method}}}\n")).len(), 1);
    }

    #[test]
    fn a_file_at_the_limit_passes_and_one_past_it_does_not() {
        assert!(findings(&"// x\n".repeat(FILE_LINES_MAX)).is_empty());
        assert_eq!(findings(&"// x\n".repeat(FILE_LINES_MAX + 1)).len(), 1);
    }
}
