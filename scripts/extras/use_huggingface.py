"""A text classifier is saved, loaded and asked."""

from pathlib import Path

import transformers

from mme_sdk.local.containers.python.images.huggingface import functions

Path("vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad"]))
sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
config = transformers.BertConfig(vocab_size=7, num_labels=2, **sizes)
transformers.BertForSequenceClassification(config).save_pretrained("model")
transformers.BertTokenizer("vocab.txt").save_pretrained("model")
own = functions()
data = own["input_fn"](b'{"inputs": "good"}', "application/json")
(said,) = own["predict_fn"](data, own["model_fn"]("model"))
assert said["label"] in ("LABEL_0", "LABEL_1"), said
