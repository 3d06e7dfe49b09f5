//! The names everything else refers to, each with a type of its own. Clones share their text.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
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

id! {
    /// A point of presence, such as `fra2`.
    PopId
}
id! {
    /// Where demand arises and PoPs stand, such as `frankfurt`: what network latency is known between.
    PlaceId
}
id! {
    /// A jurisdiction or market, such as `eu`: what residency and policies speak of.
    RegionId
}
id! {
    /// What fails together, such as a building or a power feed.
    FailureDomain
}
id! {
    /// A kind of device that runs every model at one speed, such as `l4` or `epyc-32`.
    DeviceClassName
}
id! {
    /// A model and its version, `name:version`.
    ModelKey
}

/// The position of a device in its PoP's list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeviceIndex(pub u16);
