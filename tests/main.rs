//! Stories: the built binary, a home folder of its own, real files.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

mod agents;
mod api;
mod architecture;
mod book;
mod corpus;
mod doctor;
mod export;
mod fault;
mod files;
mod http;
mod ingest;
mod install;
mod kill;
mod monitoring;
mod packaging;
mod page;
mod privacy;
mod report;
mod reprice;
mod restore;
mod service;
mod settings;
mod stream;
mod support;
mod upgrade;
