//! What a backslash begins.

use super::{Translator, count, recursion};

const DIGIT: &str = "0-9";
const WORD: &str = "0-9A-Za-z_";
const SPACE: &str = r"\t-\r ";
const HORIZONTAL: &str = r"\t \xa0";
const VERTICAL: &str = r"\n-\r\x85";

/// What stands in a set, or after a backslash.
pub(super) enum Member {
    One(u32),
    /// Several, as they are written in a set.
    Several(String),
}

impl<'a> Translator<'a> {
    /// What a backslash begins, outside a set.
    pub(super) fn escape(&mut self) -> Result<(), String> {
        let next = self.rest.next().ok_or(r"\ ends the pattern")?;
        match next {
            'Q' => {
                let quoted = self.take_quoted();
                quoted.chars().for_each(|quoted| self.literal(quoted));
            }
            'E' => {}
            'A' | 'G' => self.push_place(r"\A"),
            'z' => self.push_place(r"\z"),
            'Z' => self.end_of_subject(),
            'b' | 'B' => self.word_boundary(next == 'b'),
            // What matched as a whole is asked for by nobody.
            'K' => self.push_place("(?:)"),
            'N' if names_nothing(self.rest.as_str()) => self.push(r"[^\n]"),
            'R' => {
                let any = format!(r"(?:\r\n|[{VERTICAL}])");
                self.push(&any);
            }
            'C' => self.push("(?s:.)"),
            'g' | 'k' => return self.reference(next),
            '1'..='9' => return self.digits(next),
            _ => match self.member(next)? {
                Member::One(code) => self.code(code),
                Member::Several(several) => self.push(&format!("[{several}]")),
            },
        }
        Ok(())
    }

    pub(super) fn take_quoted(&mut self) -> &'a str {
        let all = self.rest.as_str();
        self.take_to(r"\E").unwrap_or_else(|| {
            self.rest = "".chars();
            all
        })
    }

    fn word_boundary(&mut self, is_boundary: bool) {
        let native = if is_boundary { r"\b" } else { r"\B" };
        // That engine has letters beyond ASCII among those of words.
        if !self.engine.backtracking || self.engine.characters {
            return self.push_place(native);
        }
        let (one, other) = match is_boundary {
            true => ("(?!", "(?="),
            false => ("(?=", "(?!"),
        };
        let text = format!("(?:(?<=[{WORD}]){one}[{WORD}])|(?<![{WORD}]){other}[{WORD}]))");
        self.push_place(&text);
    }

    /// A number after a backslash: a group, or a character in octal.
    fn digits(&mut self, first: char) -> Result<(), String> {
        let after = self.rest.as_str();
        let more = after.bytes().take_while(u8::is_ascii_digit).count();
        let number = format!("{first}{}", &after[..more]).parse::<u32>();
        match number {
            Ok(number) if number < 10 || first >= '8' || number <= self.groups => {
                self.skip(more);
                self.refer_to(number)
            }
            _ => {
                let code = self.octal(first);
                self.code(code?);
                Ok(())
            }
        }
    }

    /// Up to three octal digits, of which the first was taken.
    pub(super) fn octal(&mut self, first: char) -> Result<u32, String> {
        let code = self.two_digits(first.to_digit(8).unwrap_or(0), 8);
        self.in_range(Some(code))
    }

    /// A number that goes on with up to two digits.
    fn two_digits(&mut self, mut number: u32, radix: u32) -> u32 {
        for _ in 0..2 {
            let next = self.rest.clone().next();
            let Some(digit) = next.and_then(|it| it.to_digit(radix)) else {
                break;
            };
            self.rest.next();
            number = number * radix + digit;
        }
        number
    }

    fn refer_to(&mut self, number: u32) -> Result<(), String> {
        if number == 0 || number > self.groups {
            return Err(format!(
                "there is no group {number} before the reference to it"
            ));
        }
        self.needs.backtracking = true;
        self.push(&format!(r"(?:\{number})"));
        Ok(())
    }

    pub(super) fn refer_by_name(&mut self, name: &str) {
        self.needs.backtracking = true;
        self.push(&format!(r"\k<{name}>"));
    }

    /// `\g1`, `\g{1}`, `\g{-1}`, `\g{name}`, `\k{name}`, `\k<name>`, `\k'name'`.
    fn reference(&mut self, kind: char) -> Result<(), String> {
        let all = self.rest.as_str();
        let named = match all.chars().next() {
            Some('{') => "}",
            Some('<') if kind == 'k' => ">",
            Some('\'') if kind == 'k' => "'",
            Some('<' | '\'') => return Err(recursion()),
            _ if kind == 'k' => return Err(r"expected a name after \k".to_owned()),
            _ => "",
        };
        let name = if named.is_empty() {
            let sign = usize::from(all.starts_with('-'));
            let digits = all[sign..].bytes().take_while(u8::is_ascii_digit).count();
            self.skip(sign + digits);
            &all[..sign + digits]
        } else {
            self.skip(1);
            self.take_to(named)
                .ok_or_else(|| format!("expected {named} after a name"))?
        };
        let back = name
            .strip_prefix('-')
            .and_then(|back| back.parse::<u32>().ok());
        match (back, name.parse::<u32>()) {
            (Some(back), _) => self.refer_to((self.groups + 1).saturating_sub(back)),
            (None, Ok(number)) if kind == 'g' => self.refer_to(number),
            _ => {
                self.refer_by_name(name);
                Ok(())
            }
        }
    }

    /// What a backslash means within sets and outside.
    pub(super) fn member(&mut self, next: char) -> Result<Member, String> {
        let several = |text: &str| Ok(Member::Several(text.to_owned()));
        let but = |text: &str| Ok(Member::Several(format!("[^{text}]")));
        match next {
            'd' => several(DIGIT),
            'D' => but(DIGIT),
            'w' => several(WORD),
            'W' => but(WORD),
            's' => several(SPACE),
            'S' => but(SPACE),
            'h' => several(HORIZONTAL),
            'H' => but(HORIZONTAL),
            'v' => several(VERTICAL),
            'V' => but(VERTICAL),
            'p' | 'P' => self.property(next).map(Member::Several),
            'a' => Ok(Member::One(0x07)),
            'e' => Ok(Member::One(0x1b)),
            'f' => Ok(Member::One(0x0c)),
            'n' => Ok(Member::One(0x0a)),
            'r' => Ok(Member::One(0x0d)),
            't' => Ok(Member::One(0x09)),
            '0' => self.octal('0').map(Member::One),
            'o' => self.braced(8).map(Member::One),
            'x' => self.hexadecimal().map(Member::One),
            'c' => match self.rest.next() {
                Some(control @ ' '..='~') => {
                    Ok(Member::One(u32::from(control.to_ascii_uppercase()) ^ 0x40))
                }
                _ => Err(r"expected a printable character after \c".to_owned()),
            },
            _ if next.is_ascii_alphanumeric() => Err(format!(r"\{next} is not supported")),
            _ => {
                self.needs.characters |= !next.is_ascii();
                Ok(Member::One(next.into()))
            }
        }
    }

    fn property(&mut self, kind: char) -> Result<String, String> {
        self.needs.characters = true;
        let wrong = || format!(r"expected a property after \{kind}");
        match self.rest.next().ok_or_else(wrong)? {
            '{' => {
                let name = self.take_to("}").ok_or_else(wrong)?;
                match name.strip_prefix('^') {
                    Some(name) if kind == 'p' => Ok(format!(r"\P{{{name}}}")),
                    Some(name) => Ok(format!(r"\p{{{name}}}")),
                    None => Ok(format!(r"\{kind}{{{name}}}")),
                }
            }
            letter => Ok(format!(r"\{kind}{{{letter}}}")),
        }
    }

    fn hexadecimal(&mut self) -> Result<u32, String> {
        if self.rest.as_str().starts_with('{') {
            return self.braced(16);
        }
        Ok(self.two_digits(0, 16))
    }

    fn braced(&mut self, radix: u32) -> Result<u32, String> {
        let wrong = || "expected a number in braces".to_owned();
        if self.rest.next() != Some('{') {
            return Err(wrong());
        }
        let number = self.take_to("}").ok_or_else(wrong)?;
        let is_number = !number.is_empty() && number.chars().all(|it| it.is_digit(radix));
        let code = u32::from_str_radix(number, radix).ok();
        is_number.then_some(()).ok_or_else(wrong)?;
        self.in_range(code)
    }

    fn in_range(&self, code: Option<u32>) -> Result<u32, String> {
        let max = match self.engine.characters {
            true => u32::from(char::MAX),
            false => 0xff,
        };
        code.filter(|code| *code <= max)
            .ok_or_else(|| "there is no such character".to_owned())
    }
}

/// Whether what follows is no brace, or a count's: another one has a name in it.
fn names_nothing(rest: &str) -> bool {
    !rest.starts_with('{') || count(&rest[1..]).is_some()
}
