//! One call of `handle` a test: a known state, one event, and the whole list of commands.

mod binding;
mod build;
mod campaign;
mod electors;
mod fail_safe;
mod heartbeat;
mod hello;
mod journal;
mod leadership;
mod offers;
mod operator;
mod reread;
mod shift;
mod stranded;
mod strike;
mod wait;
mod word;
