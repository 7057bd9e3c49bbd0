"""What holds for every test: no hub is ever asked, and no test depends on chance or on a machine's speed."""

import os
import signal

import hypothesis

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

hypothesis.settings.register_profile("luthier", deadline=None, derandomize=True)
hypothesis.settings.load_profile("luthier")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background, whose children would ignore it too
    signal.signal(signal.SIGINT, signal.default_int_handler)
