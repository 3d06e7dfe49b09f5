//! What came of asking a PoP, by what may be done then.

use headland_nn_core::NnError;

/// What came of asking a candidate.
pub(crate) enum Outcome<T> {
    Answered(T),
    /// The request itself cannot be answered, here or elsewhere.
    Final(NnError),
    /// No room: somebody else may have some.
    Shed(NnError),
    /// It did not run there.
    Gone(NnError),
    /// It did not get there: the connection's affair, which sees to that itself.
    Unreached(NnError),
    /// It failed, and may have run.
    Failed(NnError),
}

impl<T> Outcome<T> {
    /// What it means that a PoP gave `error` for an answer.
    pub fn of(error: NnError) -> Self {
        match &error {
            NnError::InvalidInput(_) | NnError::TooLarge(_) | NnError::DeadlineExceeded { .. } => Outcome::Final(error),
            NnError::Overloaded { .. } => Outcome::Shed(error),
            NnError::ShuttingDown { .. } | NnError::Unreachable { .. } => Outcome::Gone(error),
            NnError::BrokenOff { .. } | NnError::DeviceUnavailable(_) | NnError::BadModel(_) | NnError::Runtime(_) => {
                Outcome::Failed(error)
            }
        }
    }

    /// The same, with what is made of an answer.
    pub fn and_then<U>(self, of: impl FnOnce(T) -> Outcome<U>) -> Outcome<U> {
        match self {
            Outcome::Answered(answer) => of(answer),
            Outcome::Final(error) => Outcome::Final(error),
            Outcome::Shed(error) => Outcome::Shed(error),
            Outcome::Gone(error) => Outcome::Gone(error),
            Outcome::Unreached(error) => Outcome::Unreached(error),
            Outcome::Failed(error) => Outcome::Failed(error),
        }
    }

    /// For whoever asks nobody else.
    pub fn into_result(self) -> Result<T, NnError> {
        match self {
            Outcome::Answered(answer) => Ok(answer),
            Outcome::Final(error)
            | Outcome::Shed(error)
            | Outcome::Gone(error)
            | Outcome::Unreached(error)
            | Outcome::Failed(error) => Err(error),
        }
    }
}
