"""From verified bytes to an adapter on a model, by PEFT, and the proof of it. The rooms of torch and PEFT."""
