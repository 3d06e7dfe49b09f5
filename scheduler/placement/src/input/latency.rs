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
            (Some(from), Some(to)) => self.local_ms + self.per_km_ms * from.distance_km(to),
            _ => self.unknown_ms,
        }
    }
}

impl Location {
    /// The great-circle distance, by the haversine formula.
    pub fn distance_km(self, other: Self) -> f64 {
        let (a, b) = (self.latitude_deg.to_radians(), other.latitude_deg.to_radians());
        let half_longitude = (other.longitude_deg - self.longitude_deg).to_radians() / 2.0;
        let chord = ((b - a) / 2.0).sin().powi(2) + a.cos() * b.cos() * half_longitude.sin().powi(2);
        2.0 * EARTH_RADIUS_KM * chord.clamp(0.0, 1.0).sqrt().asin()
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
