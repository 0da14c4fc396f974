//! What is said of a configuration, and what the command line does with it.

mod advice;
mod alike;
mod command_line;
mod defined_variables;
mod exit_codes;
mod mistakes;
mod scripts;
mod several;
mod zones;
