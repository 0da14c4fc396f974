//! Sets: what stands between `[` and `]`.

use super::escape::Member;
use super::{Translator, write_code};

/// The names between `[:` and `:]`.
const POSIX: [&str; 14] = [
    "alpha", "lower", "upper", "alnum", "ascii", "blank", "cntrl", "digit", "graph", "print",
    "punct", "space", "word", "xdigit",
];

impl Translator<'_> {
    /// A set, of which `[` was taken.
    pub(super) fn set(&mut self) -> Result<String, String> {
        let mut text = "[".to_owned();
        if self.rest.as_str().starts_with('^') {
            self.rest.next();
            text.push('^');
        }
        let mut is_first = true;
        loop {
            let next = self.rest.next().ok_or("a set is not closed: expected ]")?;
            if next == ']' && !is_first {
                break;
            }
            let Some(member) = self.set_member(next)? else {
                continue;
            };
            is_first = false;
            match member {
                Member::Several(_) if self.begins_range() => {
                    return Err("a range begins with several characters".to_owned());
                }
                Member::Several(several) => text.push_str(&several),
                Member::One(from) => {
                    write_code(from, &mut text);
                    if self.begins_range() {
                        self.rest.next();
                        let to = self.range_end()?;
                        if to < from {
                            return Err("a range in a set ends before it begins".to_owned());
                        }
                        text.push('-');
                        write_code(to, &mut text);
                    }
                }
            }
        }
        text.push(']');
        Ok(text)
    }

    fn begins_range(&self) -> bool {
        let rest = self.rest.as_str();
        rest.starts_with('-') && !rest.starts_with("-]")
    }

    fn range_end(&mut self) -> Result<u32, String> {
        loop {
            let next = self.rest.next().ok_or("a set is not closed: expected ]")?;
            match self.set_member(next)? {
                Some(Member::One(code)) => return Ok(code),
                Some(Member::Several(_)) => {
                    return Err("a range ends with several characters".to_owned());
                }
                None => {}
            }
        }
    }

    /// One member of a set; none where it is nothing but the end of a quotation.
    fn set_member(&mut self, next: char) -> Result<Option<Member>, String> {
        let rest = self.rest.as_str();
        if next == '[' && rest.starts_with([':', '.', '=']) {
            let end = format!("{}]", &rest[..1]);
            if let Some((name, _)) = rest[1..].split_once(&end) {
                let known = POSIX.contains(&name.strip_prefix('^').unwrap_or(name));
                if known && rest.starts_with(':') {
                    self.skip(name.len() + 3);
                    return Ok(Some(Member::Several(format!("[:{name}:]"))));
                }
                let is_name = name
                    .bytes()
                    .all(|it| it.is_ascii_alphabetic() || it == b'^');
                if is_name || !rest.starts_with(':') {
                    return Err(format!("[{}{name}{end} is no known class", &rest[..1]));
                }
            }
        }
        if next != '\\' {
            self.needs.characters |= !next.is_ascii();
            return Ok(Some(Member::One(next.into())));
        }
        let next = self.rest.next().ok_or(r"\ ends the pattern")?;
        match next {
            'E' => Ok(None),
            'Q' => {
                let mut several = String::new();
                for quoted in self.take_quoted().chars() {
                    self.needs.characters |= !quoted.is_ascii();
                    write_code(quoted.into(), &mut several);
                }
                Ok((!several.is_empty()).then_some(Member::Several(several)))
            }
            'b' => Ok(Some(Member::One(8))),
            '1'..='7' => self.octal(next).map(|code| Some(Member::One(code))),
            '8' | '9' => Ok(Some(Member::One(next.into()))),
            _ => self.member(next).map(Some),
        }
    }
}
