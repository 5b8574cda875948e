//! What every engine must do, and what the embedded one does besides.

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod embedded;
#[cfg(test)]
mod zookeeper;
