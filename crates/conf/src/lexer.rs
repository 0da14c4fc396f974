//! Text into tokens.
//!
//! The rules are those of nginx's own reader: a word ends at white space, `;` or `{`; quotes
//! count only at a word's start; a backslash takes the next character with it; `{` directly after
//! `$` belongs to the word; `}` and `#` are special only where a word could begin.

use crate::span::{FileId, Span};
use crate::word::Word;

/// One token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// A word, unquoted and unescaped.
    Word(Word),
    /// `;`
    Semicolon(Span),
    /// `{`
    Open(Span),
    /// `}`
    Close(Span),
    /// A character that may not follow a closing quote.
    Unexpected(char, Span),
    /// The end of the text.
    End(Span),
}

/// Reads tokens out of one text.
pub(crate) struct Lexer<'a> {
    text: &'a str,
    file: FileId,
    position: usize,
    /// A quoted word has just ended, so that white space, `;`, `{` or `)` must follow.
    after_quote: bool,
    /// The quote that was still open at the end of the text.
    pub(crate) unclosed_quote: Option<Span>,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str, file: FileId) -> Self {
        // A byte order mark is no part of the first directive's name.
        let position = if text.starts_with('\u{feff}') {
            '\u{feff}'.len_utf8()
        } else {
            0
        };
        Lexer {
            text,
            file,
            position,
            after_quote: false,
            unclosed_quote: None,
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.position).copied()
    }

    fn span(&self, start: usize, end: usize) -> Span {
        Span {
            file: self.file,
            start: start as u32,
            end: end as u32,
        }
    }

    /// The next token; after the end, the end again.
    pub(crate) fn next(&mut self) -> Token {
        if std::mem::take(&mut self.after_quote)
            && let Some(byte) = self.peek()
            && !matches!(
                byte,
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{' | b')' | b'}'
            )
        {
            return self.glued();
        }
        self.skip_blanks();
        let start = self.position;
        let Some(byte) = self.peek() else {
            return Token::End(self.span(start, start));
        };
        let mark = self.span(start, start + 1);
        match byte {
            b';' => {
                self.position += 1;
                Token::Semicolon(mark)
            }
            b'{' => {
                self.position += 1;
                Token::Open(mark)
            }
            b'}' => {
                self.position += 1;
                Token::Close(mark)
            }
            b'"' | b'\'' => self.quoted(byte),
            _ => self.bare(),
        }
    }

    /// What stands directly after a closing quote; it is passed over whole, so that one slip gives
    /// one error.
    fn glued(&mut self) -> Token {
        let start = self.position;
        let found = self.text[start..].chars().next().unwrap_or('?');
        self.bare();
        Token::Unexpected(found, self.span(start, start + found.len_utf8()))
    }

    fn skip_blanks(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => self.position += 1,
                b'#' => {
                    let rest = &self.text.as_bytes()[self.position..];
                    let length = rest.iter().position(|&byte| byte == b'\n');
                    self.position += length.unwrap_or(rest.len());
                }
                _ => return,
            }
        }
    }

    fn quoted(&mut self, quote: u8) -> Token {
        let start = self.position;
        self.position += 1;
        let inner = self.position;
        while let Some(byte) = self.peek() {
            self.position += 1;
            if byte == b'\\' {
                self.skip_escaped();
            } else if byte == quote {
                self.after_quote = true;
                return self.word(start, inner, self.position - 1, true);
            }
        }
        self.unclosed_quote = Some(self.span(start, inner));
        self.word(start, inner, self.position, true)
    }

    fn bare(&mut self) -> Token {
        let start = self.position;
        let mut is_variable = false;
        while let Some(byte) = self.peek() {
            match byte {
                b'{' if is_variable => {}
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{' => break,
                _ => is_variable = byte == b'$',
            }
            self.position += 1;
            if byte == b'\\' {
                self.skip_escaped();
            }
        }
        self.word(start, start, self.position, false)
    }

    /// The character after a backslash is part of the word whatever it is.
    fn skip_escaped(&mut self) {
        let next = self.text[self.position..].chars().next();
        self.position += next.map_or(0, char::len_utf8);
    }

    fn word(&self, start: usize, inner_start: usize, inner_end: usize, quoted: bool) -> Token {
        let text = unescape(&self.text[inner_start..inner_end]);
        let before = self.text[..start].trim_end_matches([' ', '\t', '\r']);
        Token::Word(Word {
            text,
            span: self.span(start, self.position),
            quoted,
            begins_line: before.is_empty() || before.ends_with('\n'),
        })
    }
}

/// Replaces `\"`, `\'`, `\\`, `\t`, `\r` and `\n`; any other backslash stays.
fn unescape(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let replaced = match rest.as_bytes().get(at + 1) {
            Some(b'"') => '"',
            Some(b'\'') => '\'',
            Some(b'\\') => '\\',
            Some(b't') => '\t',
            Some(b'r') => '\r',
            Some(b'n') => '\n',
            _ => {
                // The character after is ordinary text, and is never a backslash itself.
                text.push('\\');
                rest = &rest[at + 1..];
                continue;
            }
        };
        text.push(replaced);
        rest = &rest[at + 2..];
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tokens of `text` in a short form: words in brackets, punctuation as itself.
    fn short(text: &str) -> String {
        let mut lexer = Lexer::new(text, FileId(0));
        let mut out = String::new();
        loop {
            match lexer.next() {
                Token::Word(word) => out.push_str(&format!("[{}]", word.text)),
                Token::Semicolon(_) => out.push(';'),
                Token::Open(_) => out.push('{'),
                Token::Close(_) => out.push('}'),
                Token::Unexpected(found, _) => out.push_str(&format!("!{found}")),
                Token::End(_) => return out,
            }
        }
    }

    #[test]
    fn words_end_at_white_space_semicolon_and_brace() {
        assert_eq!(short("a b\tc\r\nd;e{f}g;"), "[a][b][c][d];[e]{[f}g];");
        assert_eq!(short("a { } }"), "[a]{}}");
    }

    #[test]
    fn comments_begin_only_where_a_word_could() {
        assert_eq!(short("# x;\na b#c; # d\n#"), "[a][b#c];");
        assert_eq!(short("a \"b\"#c;"), "[a][b]!#;");
    }

    #[test]
    fn quotes_count_only_at_the_start_of_a_word() {
        assert_eq!(
            short(r#"a"b c"d 'x y' "p 'q'" '"';"#),
            r#"[a"b][c"d][x y][p 'q']["];"#
        );
        assert_eq!(short(r#""" '';"#), "[][];");
        assert_eq!(short("\"a;{}#\nb\";"), "[a;{}#\nb];");
    }

    #[test]
    fn what_follows_a_closing_quote_is_checked() {
        assert_eq!(short(r#"a "b"cd e;"#), "[a][b]!c[e];");
        assert_eq!(short(r#"if ($x = "b") {"#), "[if][($x][=][b][)]{");
        assert_eq!(short(r#"a "b"{ c 'd'; }"#), "[a][b]{[c][d];}");
    }

    #[test]
    fn escapes_are_replaced_as_nginx_does() {
        assert_eq!(
            short(r#"a\ b\;c "\"\t\r\n\\\d" '\'';"#),
            "[a\\ b\\;c][\"\t\r\n\\\\d]['];"
        );
        assert_eq!(short(r"~\.php$ ^\d{3};"), r"[~\.php$][^\d]{[3}];");
        assert_eq!(short(r"\"), r"[\]");
        assert_eq!(short(r"\é;"), r"[\é];");
    }

    #[test]
    fn a_brace_after_a_dollar_belongs_to_the_word() {
        assert_eq!(short("a ${b}c$d{e"), "[a][${b}c$d]{[e]");
        assert_eq!(short("a $${b;"), "[a][$${b];");
        assert_eq!(short("a \"${b}\";"), "[a][${b}];");
    }

    #[test]
    fn an_open_quote_is_remembered() {
        let mut lexer = Lexer::new("a 'b", FileId(0));
        lexer.next();
        lexer.next();
        assert_eq!(
            lexer.unclosed_quote,
            Some(Span {
                file: FileId(0),
                start: 2,
                end: 3
            })
        );
        assert!(matches!(lexer.next(), Token::End(_)));
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        assert_eq!(short("\u{feff}user x;"), "[user][x];");
    }
}
