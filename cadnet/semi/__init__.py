"""Learning from few labels: five methods that use unlabelled images, and how they are compared."""
