//! The distribution API from outside: requests as the specification has them, requests as nobody should send them, and
//! real clients.

mod bad_input;
mod gate;
mod listings;
mod manifests;
mod oci_client;
mod pull;
mod registry;
mod speed;
mod tools;
mod uploads;
