//! Turning a photograph upright: a telephone stores it as the sensor saw it and notes in the Exif data how it was held.

use crate::decode::Gray;

const ORIENTATION_TAG: u16 = 0x0112;

/// How the stored picture must be turned: first transposed along its diagonal, then mirrored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Orientation {
    transpose: bool,
    mirror_x: bool,
    mirror_y: bool,
}

/// The orientation noted in an Exif block, which begins with its TIFF header.
pub(crate) fn orientation(exif: &[u8]) -> Option<Orientation> {
    let little_endian = match exif.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let u16_at = |at: usize| {
        let bytes = *exif.get(at..)?.first_chunk()?;
        Some(if little_endian { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let offset = *exif.get(4..)?.first_chunk()?;
    let directory = if little_endian { u32::from_le_bytes(offset) } else { u32::from_be_bytes(offset) } as usize;
    let entries = usize::from(u16_at(directory)?);
    (0..entries)
        .map_while(|entry| directory.checked_add(2 + entry * 12))
        .find(|&entry| u16_at(entry) == Some(ORIENTATION_TAG))
        .and_then(|entry| Orientation::from_code(u16_at(entry + 8)?))
}

impl Orientation {
    /// The eight codes of the Exif standard: where row 0 and column 0 of the stored picture belong.
    fn from_code(code: u16) -> Option<Self> {
        let (transpose, mirror_x, mirror_y) = match code {
            1 => (false, false, false),
            2 => (false, true, false),
            3 => (false, true, true),
            4 => (false, false, true),
            5 => (true, false, false),
            6 => (true, true, false),
            7 => (true, true, true),
            8 => (true, false, true),
            _ => return None,
        };
        Some(Orientation { transpose, mirror_x, mirror_y })
    }

    /// The picture turned upright.
    pub(crate) fn apply(self, gray: Gray) -> Gray {
        if self == Orientation::default() {
            return gray;
        }
        let (width, height) = if self.transpose { (gray.height, gray.width) } else { (gray.width, gray.height) };
        let mut pixels = Vec::with_capacity(gray.pixels.len());
        for y in 0..height {
            let y = if self.mirror_y { height - 1 - y } else { y };
            for x in 0..width {
                let x = if self.mirror_x { width - 1 - x } else { x };
                let (column, row) = if self.transpose { (y, x) } else { (x, y) };
                pixels.push(gray.pixels[row * gray.width + column]);
            }
        }
        Gray { width, height, pixels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exif_le(code: u8) -> Vec<u8> {
        let mut exif = b"II*\0\x08\0\0\0\x02\0".to_vec();
        exif.extend(b"\x0f\x01\x02\0\x01\0\0\0\0\0\0\0");
        exif.extend([0x12, 0x01, 3, 0, 1, 0, 0, 0, code, 0, 0, 0]);
        exif
    }

    #[test]
    fn the_code_is_found_in_either_byte_order_and_junk_has_none() {
        assert_eq!(orientation(&exif_le(6)), Orientation::from_code(6));
        let big_endian = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x08\0\0";
        assert_eq!(orientation(big_endian), Orientation::from_code(8));
        assert_eq!(orientation(&exif_le(9)), None);
        for end in 0..exif_le(6).len() - 3 {
            assert_eq!(orientation(&exif_le(6)[..end]), None, "{end}");
        }
        assert_eq!(orientation(b"II*\0\xff\xff\xff\xff\x02\0"), None);
    }

    #[test]
    fn every_code_turns_its_stored_form_upright() {
        // Upright is "ab" over "cd" over "ef"; each stored form is written as the standard defines its code.
        let upright = Gray { width: 2, height: 3, pixels: b"abcdef".to_vec() };
        let stored = [
            (1, "abcdef"),
            (2, "badcfe"),
            (3, "fedcba"),
            (4, "efcdab"),
            (5, "acebdf"),
            (6, "bdface"),
            (7, "fdbeca"),
            (8, "ecafdb"),
        ];
        for (code, pixels) in stored {
            let (width, height) = if code < 5 { (2, 3) } else { (3, 2) };
            let gray = Gray { width, height, pixels: pixels.as_bytes().to_vec() };
            assert_eq!(Orientation::from_code(code).unwrap().apply(gray), upright, "{code}");
        }
    }
}
