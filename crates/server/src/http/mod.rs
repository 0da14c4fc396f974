//! HTTP: requests and responses, and the way from one to the other.

pub(crate) mod build;
pub(crate) mod h1;
pub mod hosts;
pub mod location;
pub mod modules;
pub mod phase;
pub mod request;
pub mod response;
pub mod site;
