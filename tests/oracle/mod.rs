//! nginx is the reference: the same configuration and the same bytes, and the same answer.
//!
//! A file here is a group of requests. Each is sent to both servers on a connection of its own;
//! what must be the same is the status line, the header lines and their order, the body, and how
//! the connection ends. Where we mean to differ, `known` says why.

mod access;
mod access_log;
mod auth_basic;
mod autoindex;
mod bodies;
mod browser;
mod charset;
mod conditionals;
mod dav;
mod defined_variables;
mod differences;
mod error_log;
mod error_pages;
mod filtered;
mod gunzip;
mod gzip;
mod known;
mod limits;
mod links;
mod locations;
mod log_files;
mod malformed;
mod methods;
mod mp4;
mod newest;
mod normal;
mod pair;
mod passing;
mod patterns;
mod pipelining;
mod post_action;
mod random;
mod ranges;
mod redirects;
mod request;
mod rewrite;
mod site;
mod slice;
mod ssi;
mod static_files;
mod stock;
mod sub_filter;
mod subrequests;
mod symlinks;
mod syslog;
mod userid;
mod virtual_hosts;
