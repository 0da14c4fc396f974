//! Words: what lexer, values and directives have in common.

use crate::span::Span;

/// One word of a directive, as the file's author meant it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The word without its quotes and with its escapes replaced. Variables stay plain text.
    pub text: String,
    /// Where it stands, quotes included.
    pub span: Span,
    /// Whether it was written in quotes.
    pub quoted: bool,
    /// Whether nothing but white space stands before it in its line.
    pub begins_line: bool,
}
