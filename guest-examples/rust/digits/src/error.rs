//! Why a picture was not read, for the one who sent it.

use std::fmt;

use crate::decode::MAX_SIDE;

/// A picture that no digit was found in.
#[derive(Debug)]
pub enum PictureError {
    /// No bytes at all.
    Empty,
    /// Neither PNG nor JPEG.
    NotAPicture,
    /// More pixels than are taken.
    TooLarge {
        /// Its width in pixels.
        width: usize,
        /// Its height in pixels.
        height: usize,
    },
    /// A PNG or JPEG that cannot be decoded.
    Corrupt {
        /// Which of the two.
        format: &'static str,
        /// What the decoder says.
        cause: String,
    },
    /// A picture without a digit; what it lacks instead.
    NoDigit(&'static str),
}

impl fmt::Display for PictureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PictureError::Empty => f.write_str("the request has no body; send a PNG or JPEG"),
            PictureError::NotAPicture => f.write_str("the body is neither a PNG nor a JPEG"),
            PictureError::TooLarge { width, height } => {
                write!(f, "the picture has {width} x {height} pixels; at most {MAX_SIDE} x {MAX_SIDE} are read")
            }
            PictureError::Corrupt { format, cause } => write!(f, "the {format} cannot be decoded: {cause}"),
            PictureError::NoDigit(why) => write!(f, "no digit found in the picture: {why}"),
        }
    }
}

impl std::error::Error for PictureError {}
