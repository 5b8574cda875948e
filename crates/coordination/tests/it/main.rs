//! What every engine must do, and what the embedded one does besides; and the service registry.

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
mod registry;
#[cfg(test)]
mod zookeeper;
