//! `headland token ...`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use headland_access::Scope;

#[derive(Subcommand)]
pub enum TokenCommand {
    /// Make a token, and print it this once
    #[command(after_help = "Examples:
  headland token create ci --scope push --expires 90d
  export HEADLAND_TOKEN=$(headland token create laptop --scope push --scope deploy)
      the token alone goes to standard output

Scopes: read (look, pull), push (store models and apps), deploy (load, unload, roll back), admin (everything).")]
    Create {
        /// What to call it, for lists and the log
        name: String,
        /// What it lets its holder do; may be repeated
        #[arg(long = "scope", value_name = "SCOPE", required = true, value_delimiter = ',', value_parser = scopes())]
        scopes: Vec<Scope>,
        /// Refuse it after this time, such as 12h, 90d or 1y [default: never]
        #[arg(long, value_name = "TIME", value_parser = lifetime)]
        expires: Option<Duration>,
        #[command(flatten)]
        place: TokenPlace,
    },
    /// List the tokens, without their secrets
    #[command(after_help = "Example:
  headland token list --data-dir /var/lib/headland")]
    List(TokenPlace),
    /// Refuse a token from now on
    #[command(after_help = "Example:
  headland token revoke 0123456789ab")]
    Revoke {
        /// Its id, as `headland token list` shows it
        id: String,
        #[command(flatten)]
        place: TokenPlace,
    },
}

/// Whose tokens, and how to print.
#[derive(clap::Args)]
pub struct TokenPlace {
    /// The gateway's data directory [default: ~/.local/share/headland]
    #[arg(long, value_name = "DIR", env = "HEADLAND_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

fn scopes() -> impl TypedValueParser<Value = Scope> {
    PossibleValuesParser::new(Scope::ALL.map(Scope::name)).try_map(|name| name.parse::<Scope>())
}

/// A number and a unit.
fn lifetime(text: &str) -> Result<Duration, String> {
    let problem = || format!("`{text}` is no time; write a number and m, h, d, w or y, such as 90d");
    let unit = text.chars().next_back().ok_or_else(problem)?;
    let seconds: u64 = match unit {
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        'y' => 365 * 86_400,
        _ => return Err(problem()),
    };
    let number: u64 = text.strip_suffix(unit).unwrap_or_default().parse().map_err(|_| problem())?;
    if number == 0 {
        return Err("a token lives at least one minute".to_owned());
    }
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_a_number_and_a_unit() {
        let seconds = |text| lifetime(text).map(|time| time.as_secs());
        assert_eq!(seconds("30m"), Ok(1_800));
        assert_eq!(seconds("12h"), Ok(43_200));
        assert_eq!(seconds("90d"), Ok(7_776_000));
        assert_eq!(seconds("2w"), Ok(1_209_600));
        assert_eq!(seconds("1y"), Ok(31_536_000));
        for bad in ["", "90", "d", "-1d", "1.5d", "90 d", "90days", "1dd", "99999999999999999999d", "9999999999999999y"]
        {
            assert!(seconds(bad).unwrap_err().contains("such as 90d"), "{bad}");
        }
        assert!(seconds("0d").is_err());
    }
}
