//! The network between places: measured where it was measured, otherwise from the distance.

use serde::{Deserialize, Serialize};

use super::Location;
use crate::ids::PlaceId;

const EARTH_RADIUS_KM: f64 = 6371.0;

/// How long a request and its answer travel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Latency {
    /// A round trip within one place.
    pub local_ms: f64,
    /// What a round trip gains with each kilometre between two places. Light in fibre takes 0.01 ms there and back; real
    /// routes are half again to twice as long as the great circle.
    pub per_km_ms: f64,
    /// A round trip to a place whose location is not known.
    pub unknown_ms: f64,
    /// What was measured; it goes before what would be computed. The later entry counts.
    pub measured: Vec<MeasuredLatency>,
}

impl Default for Latency {
    fn default() -> Self {
        Self { local_ms: 2.0, per_km_ms: 0.016, unknown_ms: 50.0, measured: Vec::new() }
    }
}

/// A measured round trip.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasuredLatency {
    /// Where requests come from.
    pub from: PlaceId,
    /// Where the PoP stands.
    pub to: PlaceId,
    /// How long a request and its answer travel.
    pub round_trip_ms: f64,
}

impl Latency {
    /// The round trip between two different places, if nothing was measured.
    pub fn estimate_ms(&self, from: Option<Location>, to: Option<Location>) -> f64 {
        match (from, to) {
            (Some(from), Some(to)) => self.at_distance_ms(from.distance_km(to)),
            _ => self.unknown_ms,
        }
    }

    /// The round trip between two different places that lie so far apart.
    pub(crate) fn at_distance_ms(&self, distance_km: f64) -> f64 {
        self.local_ms + self.per_km_ms * distance_km
    }
}

impl Location {
    /// The great-circle distance.
    pub fn distance_km(self, other: Self) -> f64 {
        self.direction().distance_km(other.direction())
    }

    /// Where it lies as seen from the centre of the Earth: for those who measure many distances.
    pub(crate) fn direction(self) -> Direction {
        let (latitude_sin, latitude_cos) = self.latitude_deg.to_radians().sin_cos();
        let (longitude_sin, longitude_cos) = self.longitude_deg.to_radians().sin_cos();
        Direction([latitude_cos * longitude_cos, latitude_cos * longitude_sin, latitude_sin])
    }
}

/// A point on a sphere with a radius of 1.
#[derive(Clone, Copy)]
pub(crate) struct Direction([f64; 3]);

impl Direction {
    /// The great-circle distance, from the straight line between two points: that is exact for near ones too.
    pub fn distance_km(self, other: Self) -> f64 {
        let square: f64 = self.0.iter().zip(other.0).map(|(a, b)| (a - b) * (a - b)).sum();
        2.0 * EARTH_RADIUS_KM * (square.sqrt() / 2.0).min(1.0).asin()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(latitude_deg: f64, longitude_deg: f64) -> Location {
        Location { latitude_deg, longitude_deg }
    }

    #[test]
    fn london_is_as_far_from_new_york_as_atlases_say() {
        let distance_km = at(51.507, -0.128).distance_km(at(40.713, -74.006));
        assert!((distance_km - 5570.0).abs() < 10.0, "{distance_km}");
    }

    #[test]
    fn near_places_are_told_apart() {
        let distance_km = at(51.507, -0.128).distance_km(at(51.507, -0.127));
        assert!((distance_km - 0.0692).abs() < 1e-4, "{distance_km}");
    }

    #[test]
    fn the_other_side_of_the_earth_is_half_its_girth_away() {
        let distance_km = at(40.0, 10.0).distance_km(at(-40.0, -170.0));
        assert!((distance_km - 20_015.1).abs() < 0.1, "{distance_km}");
    }

    #[test]
    fn the_shorter_way_crosses_the_date_line() {
        let distance_km = at(0.0, 179.0).distance_km(at(0.0, -179.0));
        assert!((distance_km - 222.4).abs() < 1.0, "{distance_km}");
    }

    #[test]
    fn a_place_without_a_location_is_at_the_latency_given_for_it() {
        let latency = Latency { unknown_ms: 77.0, ..Latency::default() };
        assert_eq!(latency.estimate_ms(None, Some(at(0.0, 0.0))), 77.0);
    }
}
