//! The HTTP data and admin planes: KServe v2, OpenAI, apps, metrics
