//! How responses begin that are 200: their first line, `Server` and `Date`, made once a second.

use std::cell::RefCell;

use revolve_http::h1::writer;

use crate::clock::Clock;
use crate::http::modules::core::{Tokens, signature};

/// The beginnings of responses on one loop.
#[derive(Default)]
pub(crate) struct Preambles(RefCell<OfSecond>);

#[derive(Default)]
struct OfSecond {
    unix_s: i64,
    texts: [Vec<u8>; 2],
}

impl Preambles {
    /// Hands over how a response begins now that is 200.
    pub(crate) fn with<T>(
        &self,
        clock: &Clock,
        tokens: Tokens,
        use_it: impl FnOnce(&[u8]) -> T,
    ) -> T {
        let unix_s = clock.unix_s();
        if self.0.borrow().unix_s != unix_s {
            self.0.borrow_mut().write(unix_s);
        }
        use_it(&self.0.borrow().texts[tokens as usize])
    }
}

impl OfSecond {
    fn write(&mut self, unix_s: i64) {
        self.unix_s = unix_s;
        let mut date = [0; 29];
        revolve_http::date::format_imf(unix_s, &mut date);
        let all = [Tokens::Version, Tokens::Name];
        for (tokens, text) in all.into_iter().zip(&mut self.texts) {
            text.clear();
            writer::status_line(text, 200);
            writer::header(text, b"Server", signature(tokens).as_bytes());
            writer::header(text, b"Date", &date);
        }
    }
}
