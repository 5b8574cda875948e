//! One call of `handle` a test: a known state, one event, and the whole list of commands.

mod ack;
mod build;
mod commit;
mod lease;
mod leave;
mod limits;
mod offers;
mod parts;
mod poll;
mod report;
mod shift;
mod status;
mod welcome;
