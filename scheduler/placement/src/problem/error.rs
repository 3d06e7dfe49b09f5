//! What makes an input unusable as a whole.

use crate::ids::{DeviceClassName, ModelKey, PlaceId, PopId};

/// An input that contradicts itself. Nothing is planned for one.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InputError {
    /// Two PoPs have one id.
    #[error("two PoPs are called {0}; give each a name of its own")]
    DuplicatePop(PopId),
    /// Two places have one id.
    #[error("two places are called {0}; give each a name of its own")]
    DuplicatePlace(PlaceId),
    /// Two device classes have one name.
    #[error("two device classes are called {0}; give each a name of its own")]
    DuplicateClass(DeviceClassName),
    /// A model is listed twice.
    #[error("model {0} is listed twice")]
    DuplicateModel(ModelKey),
    /// A model's demand is listed twice, or a place twice in it.
    #[error("the demand for {model} is listed twice{}", .place.as_ref().map(|p| format!(" for {p}")).unwrap_or_default())]
    DuplicateDemand {
        /// The model.
        model: ModelKey,
        /// The place, if it is the place that comes twice.
        place: Option<PlaceId>,
    },
    /// Something stands at a place that is not listed.
    #[error("{what} names the place {place}, which is not listed")]
    UnknownPlace {
        /// What names it.
        what: String,
        /// The name.
        place: PlaceId,
    },
    /// Something is of a class that is not listed.
    #[error("{what} names the device class {class}, which is not listed")]
    UnknownClass {
        /// What names it.
        what: String,
        /// The name.
        class: DeviceClassName,
    },
    /// There is demand for a model that is not listed.
    #[error("there is demand for {0}, which is not among the models")]
    UnknownModel(ModelKey),
    /// A number is out of its range.
    #[error("{what} is {value}; it has to be {range}")]
    Number {
        /// Which number.
        what: String,
        /// What it is.
        value: f64,
        /// What it may be.
        range: &'static str,
    },
    /// There are more of something than this solver takes.
    #[error("there are {count} {what}; at most {max} can be planned for")]
    TooMany {
        /// What.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        max: usize,
    },
}
