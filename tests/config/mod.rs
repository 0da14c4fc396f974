//! What is said of a configuration, and what the command line does with it.

mod alike;
mod command_line;
mod defined_variables;
mod mistakes;
mod several;
mod zones;
