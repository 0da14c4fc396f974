//! What is said of a configuration, and what the command line does with it.

mod access;
mod advice;
mod alike;
mod browser;
mod command_line;
mod defined_variables;
mod exit_codes;
mod filters;
mod http2;
mod links;
mod mistakes;
mod scripts;
mod several;
mod subrequests;
mod tls;
mod userid;
mod zones;
