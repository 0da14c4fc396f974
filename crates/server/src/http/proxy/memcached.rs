//! memcached: how a value is taken out of what surrounds it, and the head that it gets.
//!
//! Source: nginx's `ngx_http_memcached_process_header`.

use bytes::Bytes;
use revolve_http::memcached::{self, MemcachedError, ResponseLine, ValueReader};

/// Writes a head for a value, and takes the value out of what surrounds it.
pub(crate) struct Found {
    key: Bytes,
    /// The bits of a value's flags that say that it is compressed.
    gzip_flag: u32,
    line: Vec<u8>,
    value: Option<ValueReader>,
    is_ended: bool,
    has_more: bool,
}

impl Found {
    pub(super) fn new(key: Bytes, gzip_flag: u32) -> Self {
        Self {
            key,
            gzip_flag,
            line: Vec::new(),
            value: None,
            is_ended: false,
            has_more: false,
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        self.is_ended
    }

    pub(super) fn is_whole(&self) -> bool {
        self.is_ended && !self.has_more
    }

    pub(super) fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), MemcachedError> {
        if self.is_ended {
            self.has_more |= !input.is_empty();
            return Ok(());
        }
        if self.value.is_some() {
            return self.read_value(input, out);
        }
        self.line.extend_from_slice(input);
        match memcached::response_line(&self.line, &self.key)? {
            None => Ok(()),
            Some(ResponseLine::NotFound { consumed }) => {
                out.extend_from_slice(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
                self.is_ended = true;
                self.has_more = consumed < self.line.len();
                Ok(())
            }
            Some(ResponseLine::Found {
                flags,
                length,
                consumed,
            }) => {
                let encoding = match flags & self.gzip_flag {
                    0 => "",
                    _ => "Content-Encoding: gzip\r\n",
                };
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{encoding}\r\n");
                out.extend_from_slice(head.as_bytes());
                self.value = Some(ValueReader::new(length));
                let line = std::mem::take(&mut self.line);
                self.read_value(&line[consumed..], out)
            }
        }
    }

    fn read_value(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), MemcachedError> {
        let Some(value) = &mut self.value else {
            return Ok(());
        };
        let read = value.read(input)?;
        out.extend_from_slice(&input[..read.data_end]);
        self.is_ended = read.done;
        self.has_more = read.consumed < input.len();
        Ok(())
    }
}
