"""bertc's own CPU engine: a Q/DQ graph as an ordered list of kernel calls over packed weights (`native/bertc.h`).

A graph is compiled to a plan (`compile`), the plan is written as data (`plan_files`), and every plan that is read is
checked (`plan_check`) before the library sees it: it checks nothing itself.
"""
