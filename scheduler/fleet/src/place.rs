//! Where on Earth a PoP stands.

use std::fmt;
use std::str::FromStr;

use headland_package::RegionName;
use serde::{Deserialize, Serialize};

/// A point on Earth, in degrees.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Location {
    /// Latitude, from -90 to 90.
    pub lat_deg: f64,
    /// Longitude, from -180 to 180.
    pub lon_deg: f64,
}

/// No point on Earth.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no location; write LATITUDE,LONGITUDE in degrees, such as 50.1,8.7")]
pub struct LocationError(String);

impl Location {
    /// Whether it is on Earth.
    pub fn is_valid(&self) -> bool {
        (-90.0..=90.0).contains(&self.lat_deg) && (-180.0..=180.0).contains(&self.lon_deg)
    }
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        let parsed = text.split_once(',').and_then(|(lat, lon)| {
            Some(Location { lat_deg: lat.trim().parse().ok()?, lon_deg: lon.trim().parse().ok()? })
        });
        parsed.filter(Location::is_valid).ok_or_else(|| LocationError(text.to_owned()))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.lat_deg, self.lon_deg)
    }
}

/// Where a PoP stands, and with whom it falls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// Its region: what policies and residency speak of, and where demand is counted.
    pub region: RegionName,
    /// Its coordinates; those of its region's other PoPs when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    /// What fails together with it: a rack, a building. The PoP alone when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_domain: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_two_numbers_on_earth() {
        assert_eq!("50.1, 8.7".parse(), Ok(Location { lat_deg: 50.1, lon_deg: 8.7 }));
        for text in ["", "50", "91,0", "0,181", "NaN,0", "a,b"] {
            let error = text.parse::<Location>().unwrap_err().to_string();
            assert!(error.contains("write LATITUDE,LONGITUDE"), "{text}: {error}");
        }
    }
}
