//! PNG and JPEG to gray. The first step, and the only one that reads foreign formats.

use png::{ColorType, InterlaceInfo, Transformations};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use crate::{PictureError, exif};

/// The most pixels a picture may have on a side, checked before any are decoded.
pub const MAX_SIDE: usize = 4096;

const PNG_MAGIC: &[u8] = b"\x89PNG\r\n\x1a\n";
const JPEG_MAGIC: &[u8] = b"\xff\xd8\xff";

/// A gray picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gray {
    /// Pixels in a row; at least one.
    pub width: usize,
    /// Rows; at least one.
    pub height: usize,
    /// Luma, 0 black to 255 white, row after row.
    pub pixels: Vec<u8>,
}

/// Decodes a PNG or JPEG, told apart by their first bytes. Transparency is laid over white.
///
/// # Errors
/// [`PictureError`] when it is neither, too large, or corrupt.
pub fn decode(picture: &[u8]) -> Result<Gray, PictureError> {
    if picture.is_empty() {
        Err(PictureError::Empty)
    } else if picture.starts_with(PNG_MAGIC) {
        decode_png(picture)
    } else if picture.starts_with(JPEG_MAGIC) {
        decode_jpeg(picture)
    } else {
        Err(PictureError::NotAPicture)
    }
}

fn check_size(width: usize, height: usize) -> Result<(), PictureError> {
    if width.max(height) > MAX_SIDE { Err(PictureError::TooLarge { width, height }) } else { Ok(()) }
}

/// Row by row, so that the colours of only one row are in memory.
fn decode_png(picture: &[u8]) -> Result<Gray, PictureError> {
    let corrupt = |error: png::DecodingError| PictureError::Corrupt { format: "PNG", cause: error.to_string() };
    let mut decoder = png::Decoder::new(std::io::Cursor::new(picture));
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    let header = decoder.read_header_info().map_err(corrupt)?;
    let (width, height) = (header.width as usize, header.height as usize);
    check_size(width, height)?;

    let mut reader = decoder.read_info().map_err(corrupt)?;
    let (color, _) = reader.output_color_type();
    let mut pixels = vec![0; width * height];
    let mut gray_row = vec![0; width];
    let mut rows = 0;
    while let Some(row) = reader.next_interlaced_row().map_err(corrupt)? {
        let gray_row = to_gray(row.data(), color, &mut gray_row);
        match row.interlace() {
            InterlaceInfo::Null(_) => {
                if let Some(target) = pixels.chunks_exact_mut(width).nth(rows) {
                    target.copy_from_slice(gray_row);
                }
            }
            InterlaceInfo::Adam7(pass) => png::expand_interlaced_row(&mut pixels, width, gray_row, pass, 8),
        }
        rows += 1;
    }
    Ok(Gray { width, height, pixels })
}

/// Turns a row of 8-bit samples to gray, into the front of `gray`; the row of an interlaced picture may be shorter.
fn to_gray<'a>(samples: &[u8], color: ColorType, gray: &'a mut [u8]) -> &'a [u8] {
    let channels = color.samples();
    let gray = &mut gray[..samples.len() / channels];
    for (gray, pixel) in gray.iter_mut().zip(samples.chunks_exact(channels)) {
        *gray = match *pixel {
            [value] => value,
            [value, alpha] => over_white(value, alpha),
            [red, green, blue] => luma(red, green, blue),
            [red, green, blue, alpha] => {
                luma(over_white(red, alpha), over_white(green, alpha), over_white(blue, alpha))
            }
            _ => 0,
        };
    }
    gray
}

fn over_white(value: u8, alpha: u8) -> u8 {
    let (value, alpha) = (u32::from(value), u32::from(alpha));
    ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
}

fn luma(red: u8, green: u8, blue: u8) -> u8 {
    ((299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue) + 500) / 1000) as u8
}

fn decode_jpeg(picture: &[u8]) -> Result<Gray, PictureError> {
    let corrupt = |error: zune_jpeg::errors::DecodeErrors| {
        // Some of its messages come in quotation marks.
        PictureError::Corrupt { format: "JPEG", cause: error.to_string().trim_matches('"').to_owned() }
    };
    // Strict, because a picture that is cut off would be filled up with gray otherwise. The decoder's own limits
    // are lifted for the header, so that the message can name the size.
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX));
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(picture), options);
    decoder.decode_headers().map_err(corrupt)?;
    let (width, height) = decoder.dimensions().unwrap_or_default();
    check_size(width, height)?;

    // The first plane of YCbCr is the luma already.
    let is_luma = matches!(decoder.input_colorspace(), Some(ColorSpace::YCbCr | ColorSpace::Luma));
    let target = if is_luma { ColorSpace::Luma } else { ColorSpace::RGB };
    decoder.set_options(options.jpeg_set_out_colorspace(target));
    let mut pixels = decoder.decode().map_err(corrupt)?;
    if !is_luma {
        pixels = pixels.as_chunks().0.iter().map(|&[red, green, blue]| luma(red, green, blue)).collect();
    }
    if width == 0 || pixels.len() != width * height {
        return Err(PictureError::Corrupt { format: "JPEG", cause: "its size and its content disagree".into() });
    }
    let orientation = decoder.exif().and_then(|exif| exif::orientation(exif)).unwrap_or_default();
    Ok(orientation.apply(Gray { width, height, pixels }))
}
