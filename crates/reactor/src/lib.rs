//! One event loop per thread.
#![deny(unsafe_code)]
