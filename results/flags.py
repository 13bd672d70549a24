"""The words that mark a row as suspicious, and what each says. A flagged row is kept; who reads it decides."""

FLAGS: dict[str, str] = {
    "unsettled": "steps had not come to rest when sampling began",
    "time limit": "sampling ended by the time limit, before the ratio was known well",
    "throttled": "the GPU held its clock down, for heat or power",
    "low clock": "the GPU ran below three quarters of its default clock",
    "foreign process": "another process used the GPU",
    "emulated": "a limit was set on a large GPU, where cuDNN chooses otherwise than on a small one",
    "skipped updates": "the gradient scaler of float16 skipped updates",
    "busy CPU": "others used more than a tenth of the machine's cores while steps were timed",
    "untrained parameters": "some parameters did not change in any timed step",
}
