//! What every engine must do, and what the embedded one does besides.

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod contest;
#[cfg(test)]
mod embedded;
#[cfg(test)]
mod etcd;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod redis;
#[cfg(test)]
mod zookeeper;
