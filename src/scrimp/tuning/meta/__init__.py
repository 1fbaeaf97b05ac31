"""The family of meta-learners: trained on tasks, they give a learner that needs few examples of a new one."""
