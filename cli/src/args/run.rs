//! `headland run`.

use std::path::PathBuf;

use clap::Args;

/// Options of `headland run`.
#[derive(Args)]
#[command(after_help = "Examples:
  headland run ./tinyllama \"Why is the sky blue?\"
      a Hugging Face folder; one with a chat template is spoken to, another goes on with the text
  headland run ./tinyllama.Q4_K_M.gguf \"Why is the sky blue?\" --max-tokens 64 --temperature 0
      one GGUF file, the likeliest answer
  cat question.txt | headland run ./tinyllama - --json
      the question from standard input; one JSON object, as OpenAI's API writes it

The answer goes to standard output while it comes, how fast it came to standard error. Nothing is verified: whoever names the
model answers for it. To serve one, use `headland up --model DIR`.")]
pub struct RunModel {
    /// The model's folder, or its GGUF file
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,
    /// What to answer, or to go on with; `-` reads standard input
    pub prompt: String,
    /// What the model is told before
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Go on with the text, without the model's chat template
    #[arg(long, conflicts_with = "system")]
    pub raw: bool,
    /// Tokens of the answer [default: until the model ends it]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub max_tokens: Option<u32>,
    /// 0 for the likeliest answer
    #[arg(long, value_name = "T", default_value_t = 0.7, allow_negative_numbers = true)]
    pub temperature: f32,
    /// Give the same answer again
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub seed: Option<i64>,
    /// Print one JSON object when the answer is whole
    #[arg(long)]
    pub json: bool,
}
