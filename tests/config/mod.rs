//! What is said of a configuration, and what the command line does with it.

mod access;
mod advice;
mod alike;
mod browser;
mod command_line;
mod defined_variables;
mod exit_codes;
mod links;
mod mistakes;
mod scripts;
mod several;
mod subrequests;
mod tls;
mod userid;
mod zones;
