//! Writing protobuf messages: the few wire types that an ONNX graph needs.
//! The wire format: <https://protobuf.dev/programming-guides/encoding/>.

/// A message in the making. Fields stand in the order they are added.
#[derive(Default)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// A whole number.
    pub fn int(mut self, field: u64, value: i64) -> Self {
        self.varint(field << 3);
        // Negative numbers are written as their two's complement of 64 bits.
        self.varint(value as u64);
        self
    }

    /// A number of single precision.
    pub fn float(mut self, field: u64, value: f32) -> Self {
        self.varint(field << 3 | 5);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Bytes, or a text.
    pub fn bytes(mut self, field: u64, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// A message within this one.
    pub fn message(self, field: u64, value: Message) -> Self {
        self.bytes(field, value.0)
    }

    /// The same field once for each of `values`.
    pub fn each<T>(self, values: impl IntoIterator<Item = T>, add: impl Fn(Self, T) -> Self) -> Self {
        values.into_iter().fold(self, add)
    }

    /// The message as it is written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_are_written_as_the_specification_shows() {
        // The specification's own examples: field 1 is 150, and field 2 is "testing".
        assert_eq!(Message::default().int(1, 150).into_bytes(), [0x08, 0x96, 0x01]);
        assert_eq!(
            Message::default().bytes(2, "testing").into_bytes(),
            [0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67]
        );
        assert_eq!(Message::default().message(3, Message::default().int(1, 150)).into_bytes(), [0x1a, 3, 8, 0x96, 1]);
        let minus_one = [[0x08].as_slice(), &[0xff; 9], &[0x01]].concat();
        assert_eq!(Message::default().int(1, -1).into_bytes(), minus_one);
        assert_eq!(Message::default().float(2, 1.0).into_bytes(), [0x15, 0, 0, 0x80, 0x3f]);
    }
}
