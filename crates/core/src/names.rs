//! What things are called: sensors, containers, arbitrators, and the numbers that order them.

use std::fmt;
use std::sync::Arc;

/// Declares a cheaply cloned, ordered name.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps `name` as it is; the shells check what a name may contain.
            pub fn new(name: impl AsRef<str>) -> Self {
                Self(Arc::from(name.as_ref()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// A StackStorm sensor's reference, `pack.ClassName`.
    SensorRef
}
name! {
    /// A sensor container's name: one for each sensor node.
    ContainerName
}
name! {
    /// An arbitrator's lasting id, kept on its own disk; where several share a store, with the address at which the
    /// others reach it behind an `@`: `ops-1-5f3a21c0@10.0.0.1:9110`.
    ArbitratorId
}

impl ArbitratorId {
    /// The id of an arbitrator that others reach at `address`.
    #[must_use]
    pub fn reached_at(&self, address: &str) -> Self {
        Self::new(format!("{self}@{address}"))
    }

    /// Where it is reached, if its id says so.
    pub fn address(&self) -> Option<&str> {
        self.as_str().split_once('@').map(|(_, address)| address)
    }
}

impl SensorRef {
    /// The pack: what stands before the first dot (the whole, where there is none).
    pub fn pack(&self) -> &str {
        self.as_str().split('.').next().unwrap_or_default()
    }
}

/// Declares a plain number that means one thing.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

number! {
    /// The number of a leadership: rises with every new leader, never falls. Zero is before the first.
    Term(u64)
}
number! {
    /// One run of a container's process: random, drawn by the shell at each start.
    Incarnation(u64)
}
number! {
    /// The machine a process runs on: the kernel's boot id, folded by the shell.
    Machine(u64)
}
number! {
    /// One binding of a registered container to one leader; unique within a term.
    SessionId(u64)
}
number! {
    /// One connection between a container and an arbitrator, as the shell that reports it numbers them.
    StreamId(u64)
}
number! {
    /// One request to the engine, as the arbiter that sends it numbers them.
    RequestId(u64)
}
number! {
    /// One sensor process, as its container numbers them; never used twice by one incarnation.
    ProcessId(u64)
}
number! {
    /// The digest of the code that an instance would run.
    Digest(u64)
}
number! {
    /// The id of one journal entry: 128 random bits, drawn by the container's shell when the poll begins.
    EntryId(u128)
}

/// `(term, n)`: given with each grant, strictly rising for each sensor. Written "term.n".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Fence {
    /// The term of the leader that gave it.
    pub term: Term,
    /// The leader's own count within its term.
    pub n: u64,
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.n)
    }
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The number of a container incarnation's entry in the register; never given twice.
///
/// Drawn from the same count as the fences of the term that wrote it, so it is unique while terms rise.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Registration(pub Fence);

impl fmt::Display for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
