"""Models: which there are, whether their weights are here, how they are loaded, changed and identified.

`registry` answers without torch. `loading` returns a `Model`; `lesion` returns changed copies of one. Nothing is
imported here, because collecting tests reads the registry and must stay fast.
"""
