//! What is said of a configuration, and what the command line does with it.

mod advice;
mod alike;
mod command_line;
mod exit_codes;
mod filters;
mod mistakes;
mod several;
mod zones;
